"""Repository rules: everything this build takes from outside the source tree."""

load("//bazel/private:debian_packages.bzl", _debian_packages = "debian_packages")
load("//bazel/private:go_module.bzl", _go_module = "go_module")
load("//bazel/private:go_sdk.bzl", _go_sdk = "go_sdk")
load("//bazel/private:go_tool.bzl", _go_tool = "go_tool")
load("//bazel/private:local_python.bzl", _local_python = "local_python")
load("//bazel/private:maven_files.bzl", _maven_files = "maven_files")
load("//bazel/private:npm_packages.bzl", _npm_packages = "npm_packages")
load("//bazel/private:pip_wheel_files.bzl", _pip_wheel_files = "pip_wheel_files")
load("//bazel/private:pip_wheels.bzl", _pip_wheels = "pip_wheels")

debian_packages = _debian_packages
go_module = _go_module
go_sdk = _go_sdk
go_tool = _go_tool
local_python = _local_python
maven_files = _maven_files
npm_packages = _npm_packages
pip_wheel_files = _pip_wheel_files
pip_wheels = _pip_wheels
