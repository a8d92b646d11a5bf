"""Write this chart's values for a release of the old chart.

    helm get manifest OLD --namespace NAMESPACE | ./bazelw run //deploy/helm:values_from_release > my-values.yaml

Reads the objects and not the old values, so it needs to know no key of the old chart. The values file goes to standard
output; what could not be read goes to standard error, a line each, with what to do.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import yaml

from release_values.release import NoTritonError, values_of

_SCHEMA = Path("deploy/helm/domino-triton/values.schema.json")


def main() -> int:
    """Runs the command; exit status 0, or 2 where the input holds no Triton."""
    parser = argparse.ArgumentParser(
        prog="values_from_release", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", nargs="?", default="-", help="the release's objects as YAML; - for standard input")
    given = parser.parse_args().manifest
    # `bazel run` changes to its own folder; a path is its caller's.
    path = Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."), given)
    try:
        text = sys.stdin.read() if given == "-" else path.read_text(encoding="utf-8")
        found = [each for each in yaml.safe_load_all(text) if each]
        # `kubectl get --output yaml` wraps the objects into a list.
        objects = [item for each in found for item in (each["items"] if each.get("kind") == "List" else [each])]
        draft = values_of(objects, _SCHEMA)
    except (OSError, yaml.YAMLError, NoTritonError) as error:
        return _refused(str(error))
    except (AttributeError, KeyError, TypeError):
        return _refused(
            "expected Kubernetes' objects as YAML, with kind, metadata and spec, as `helm get manifest` prints"
        )
    sys.stdout.write(draft.text())
    if draft.notes:
        sys.stderr.write(f"\nNot in the values, {len(draft.notes)}:\n")
        sys.stderr.write("".join(f"- {note}\n" for note in draft.notes))
    return 0


def _refused(text: str) -> int:
    sys.stderr.write(f"values_from_release: {text}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
