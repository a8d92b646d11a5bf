"""Models of an MLflow registry, which Domino's is: found, and downloaded."""

from __future__ import annotations

import logging
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_publisher.errors import Refused, Unavailable, UsageError, without_secrets

SCHEME = "models:/"
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))")
# MLflow counts in its own order of errors; these say that there is no such thing.
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class Registered:
    """A version of a registered model, downloaded.

    Attributes:
        name: of the registered model.
        version: its number.
        uri: `models:/NAME/VERSION`, with the number that an alias stood for.
        folder: where its files are now.
    """

    name: str
    version: int
    uri: str
    folder: Path


def fetch(uri: str, into: Path) -> Registered:
    """Downloads a version.

    Where the registry is and who is asking, MLflow finds by itself: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN and so
    on; the artifacts' store by its own chain.

    Args:
        uri: `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
        into: an empty folder.

    Raises:
        UsageError: it is no such URI, or no registry is set.
        Refused: the registry has no such model, version or alias.
        Unavailable: the registry or its store does not answer, or does not allow it.
    """
    found = _URI.fullmatch(uri)
    number = found["version"] if found else None
    if found is None or (number is not None and not number.isdecimal()):
        raise UsageError(
            f"the source is {uri!r}; expected models:/NAME/VERSION or models:/NAME@ALIAS, such as models:/churn/3 or "
            "models:/churn@champion"
        )
    mlflow = _mlflow()
    where = without_secrets(mlflow.get_registry_uri())
    try:
        client = mlflow.MlflowClient()
        if number is None:
            number = str(client.get_model_version_by_alias(found["name"], found["alias"]).version)
        described = client.get_model_version(found["name"], number)
        if described.status != "READY":
            raise Refused(f"{uri} is {described.status} in the registry {where}; expected READY")
        exact = f"{SCHEME}{found['name']}/{number}"
        folder = mlflow.artifacts.download_artifacts(artifact_uri=exact, dst_path=str(into))
    except mlflow.exceptions.MlflowException as error:
        text = f"the registry {where} does not give {uri}: {str(error).strip().splitlines()[0]}"
        if error.error_code in _MISSING:
            raise Refused(f"{text}; check the name and version in the registry") from error
        raise Unavailable(f"{text}; check MLFLOW_TRACKING_URI and the credentials for it") from error
    except OSError as error:
        # requests' errors are among these; boto3's are not, and MLflow wraps them.
        raise Unavailable(f"the files of {uri} could not be downloaded from {where}: {error}") from error
    return Registered(found["name"], int(number), exact, Path(folder))


def _mlflow() -> Any:
    # Bars are for terminals, as ours are.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", str(sys.stderr.isatty()).lower())
    if not os.environ.get("MLFLOW_TRACKING_URI") and not os.environ.get("MLFLOW_REGISTRY_URI"):
        raise UsageError("no registry is set; expected MLFLOW_TRACKING_URI, which Domino sets in workspaces and jobs")
    # It takes seconds to import, and only this needs it.
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return mlflow
