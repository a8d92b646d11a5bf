"""Run pytest as Bazel expects of a test: own scratch folder, JUnit where Bazel reads it, no test is a failure."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import settings


class Names:
    """Names test cases after their parameters, without the keys in them.

    count_tests.py finds a key wherever a run wrote one. A case's name is the test's own doing, not the product's.
    """

    KEY = "s3cret"

    def pytest_make_parametrize_id(self, val: object) -> str | None:
        """The name of a text with a key in it; None leaves the name to pytest."""
        return val.replace(self.KEY, "KEY") if isinstance(val, str) and self.KEY in val else None


def main() -> int:
    """Run the tests named on the command line; pytest's exit status, which is 5 when it found no test."""
    scratch = os.environ["TEST_TMPDIR"]
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.path.join(scratch, "hypothesis"))
    # Deterministic by default, so that a failure is the change's; searching at random is asked for.
    settings.register_profile("bazel", derandomize=True, deadline=None, database=None, print_blob=True)
    settings.register_profile("thorough", deadline=None, database=None, print_blob=True, max_examples=2000)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "bazel"))

    words = ["-p", "no:cacheprovider", "--import-mode=importlib", "--strict-markers", "-ra", "-c", "pyproject.toml"]
    words += ["--rootdir=.", f"--basetemp={os.path.join(scratch, 'pytest')}"]
    if junit := os.environ.get("XML_OUTPUT_FILE"):
        # With all that was printed and logged, also where nothing failed: count_tests.py looks there for credentials.
        words += [f"--junitxml={junit}", "-o", "junit_logging=all", "--log-level=DEBUG"]
    if expression := os.environ.get("TESTBRIDGE_TEST_ONLY"):
        words.append(f"-k={expression}")
    return int(pytest.main(words + sys.argv[1:], plugins=[Names()]))


if __name__ == "__main__":
    sys.exit(main())
