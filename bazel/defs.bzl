"""The rules of this repository, for BUILD files."""

load("//bazel/private:executed_notebooks.bzl", _executed_notebooks = "executed_notebooks")
load("//bazel/private:layer_test.bzl", _layer_test = "layer_test")
load("//bazel/private:mypy_test.bzl", _mypy_test = "mypy_test")
load("//bazel/private:oci_debian_layer.bzl", _oci_debian_layer = "oci_debian_layer")
load("//bazel/private:oci_files_layer.bzl", _oci_files_layer = "oci_files_layer")
load("//bazel/private:oci_image.bzl", _oci_image = "oci_image")
load("//bazel/private:oci_python_layer.bzl", _oci_python_layer = "oci_python_layer")
load("//bazel/private:oci_wheels_layer.bzl", _oci_wheels_layer = "oci_wheels_layer")
load("//bazel/private:proto_descriptors.bzl", _proto_descriptors = "proto_descriptors")
load("//bazel/private:py_grpc_contract.bzl", _py_grpc_contract = "py_grpc_contract")
load("//bazel/private:py_wheel.bzl", _py_wheel = "py_wheel")
load("//bazel/private:pytest_test.bzl", _pytest_test = "pytest_test")
load("//bazel/private:ruff_test.bzl", _ruff_test = "ruff_test")
load("//bazel/private:written_folder.bzl", _written_folder = "written_folder")

executed_notebooks = _executed_notebooks
layer_test = _layer_test
mypy_test = _mypy_test
oci_debian_layer = _oci_debian_layer
oci_files_layer = _oci_files_layer
oci_image = _oci_image
oci_python_layer = _oci_python_layer
oci_wheels_layer = _oci_wheels_layer
proto_descriptors = _proto_descriptors
py_grpc_contract = _py_grpc_contract
py_wheel = _py_wheel
pytest_test = _pytest_test
ruff_test = _ruff_test
written_folder = _written_folder
