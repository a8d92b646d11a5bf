"""Runs schemathesis's command."""

from __future__ import annotations

from schemathesis.cli import schemathesis  # type: ignore[import-not-found, unused-ignore]

if __name__ == "__main__":
    schemathesis()
