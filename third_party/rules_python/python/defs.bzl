"""Bazel 4's native Python rules under the names rules_python gives them, so that BUILD files read as with a newer Bazel."""

py_binary = native.py_binary
py_library = native.py_library
py_test = native.py_test
