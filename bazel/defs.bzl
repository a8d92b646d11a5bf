"""The rules of this repository, for BUILD files."""

load("//bazel/private:mypy_test.bzl", _mypy_test = "mypy_test")
load("//bazel/private:proto_descriptors.bzl", _proto_descriptors = "proto_descriptors")
load("//bazel/private:py_grpc_contract.bzl", _py_grpc_contract = "py_grpc_contract")
load("//bazel/private:py_wheel.bzl", _py_wheel = "py_wheel")
load("//bazel/private:pytest_test.bzl", _pytest_test = "pytest_test")
load("//bazel/private:ruff_test.bzl", _ruff_test = "ruff_test")

mypy_test = _mypy_test
proto_descriptors = _proto_descriptors
py_grpc_contract = _py_grpc_contract
py_wheel = _py_wheel
pytest_test = _pytest_test
ruff_test = _ruff_test
