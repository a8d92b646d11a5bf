#!/bin/sh
echo "bazel coverage is not available: the coverage tools of Bazel 4 are not part of this build" >&2
exit 1
