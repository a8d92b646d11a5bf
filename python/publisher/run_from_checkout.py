"""The target //python/client:mm_publisher: `bazel run` starts in its own folder, and the paths given are the user's."""

from __future__ import annotations

import os
import sys

from mm_publisher.__main__ import main

if __name__ == "__main__":
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    sys.exit(main())
