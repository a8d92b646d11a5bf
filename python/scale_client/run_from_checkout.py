"""The target //python/scale_client:mm_scale: `bazel run` starts in its own folder, paths are the user's."""

from __future__ import annotations

import os
import sys

from mm_scale.__main__ import main

if __name__ == "__main__":
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    sys.exit(main(sys.argv[1:]))
