"""What a target's text means."""

from __future__ import annotations

import re
from pathlib import Path

from mm_publisher.errors import UsageError
from mm_publisher.storage import Storage
from mm_publisher.storage.folder import Folder

_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")


def open_target(target: str, owner: str = "reader") -> Storage:
    """Opens a model repository.

    Args:
        target: `s3://bucket/prefix` or the path of a folder.
        owner: the model that is to be written.

    Returns:
        Its files.

    Raises:
        UsageError: it is neither.
        Unavailable: the store cannot be used.
    """
    if not target.startswith("s3://"):
        # An empty one, such as of a variable that is not set, would be the working directory.
        if not target or "://" in target:
            raise UsageError(f"the target is {target!r}; expected s3://BUCKET/PREFIX or the path of a folder")
        return Folder(Path(target).expanduser(), owner)
    found = _S3.fullmatch(target)
    parts = [] if found is None else (found[2] or "").strip("/").split("/")
    if found is None or any(part in ("", ".", "..") for part in parts[:-1]) or parts[-1] in (".", ".."):
        raise UsageError(
            f"the target is {target!r}; expected s3://BUCKET/PREFIX, such as "
            "s3://models/triton/inference-dev/triton-inference-server/models"
        )
    # Where a folder is the target, boto3 and its second of imports are not needed.
    from mm_publisher.storage.s3 import S3

    return S3(found[1], "/".join(parts), owner)
