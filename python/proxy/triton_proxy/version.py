"""The version of what is running, that of bazel/version.bzl."""

VERSION = "0.1.0"
