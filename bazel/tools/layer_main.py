"""Check one layer of a package with mypy, beside nothing but what the layer depends on.

An import of anything above the layer finds no module there. To show that mypy would notice, such imports are then added
to a copy of the layer's first file, and mypy must refuse each of them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mypy_main import checker

# mypy's words for a module that is neither in the sandbox nor installed.
_NO_MODULE = 'Cannot find implementation or library stub for module named "{}"'


def importable(report: str, modules: Sequence[str]) -> list[str]:
    """Return those of the imported modules that mypy's report does not say to be missing."""
    return [module for module in modules if _NO_MODULE.format(module) not in report]


def main() -> int:
    """Check the files named on the command line; 0 when mypy accepts them and refuses the imports from above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--above", action="append", default=[], help="a module that the layer must not import")
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    command, environment = checker()
    files = [str(path) for path in options.files]
    clean = subprocess.run([*command, *files], env=environment, check=False)  # noqa: S603
    if clean.returncode or not options.above:
        return clean.returncode
    first = options.files[0]
    injected = Path(os.environ["TEST_TMPDIR"]) / "injected.py"
    imports = "".join(f"import {module}\n" for module in options.above)
    injected.write_text(f"{first.read_text(encoding='utf-8')}\n{imports}", encoding="utf-8")
    shadow = ["--shadow-file", files[0], str(injected)]
    done = subprocess.run(  # noqa: S603
        [*command, *shadow, *files], env=environment, check=False, capture_output=True, text=True
    )
    print(done.stdout, done.stderr, sep="", end="")
    found = importable(done.stdout, options.above)
    for module in found:
        print(
            f"{first} can import {module}, which is above or beside its layer; expected mypy to find no such module; "
            "take the library that holds it out of the layer's deps"
        )
    return 1 if found or done.returncode != 1 else 0


if __name__ == "__main__":
    sys.exit(main())
