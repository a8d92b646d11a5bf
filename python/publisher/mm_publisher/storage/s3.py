"""A model repository under a prefix of an S3 bucket, or of any store that speaks S3's conditional writes."""

from __future__ import annotations

import contextlib
import email.utils
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from mm_publisher.errors import PublisherError, Unavailable
from mm_publisher.storage import Item, OnBytes

_CHUNK = 1 << 20
_SECOND = 1_000_000_000
# S3 takes 10,000 parts of a file, and none below 5 MiB but the last.
_PART_BYTES, _PARTS_AT_MOST = 16 << 20, 10_000
_PARTS_AT_ONCE = 4
# Says which upload an object is of.
_UPLOAD = "mm-publish-upload"
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=10,
    read_timeout=60,
    # Each upload carries its SHA-256, which the store holds against what arrived.
    request_checksum_calculation="when_supported",
)
_NOT_MET = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchUpload")
_MISSING = ("NoSuchKey", "404", "NotFound")
_ADVICE = {
    "AccessDenied": "the credentials may not do that; publishing needs s3:ListBucket, s3:ListBucketMultipartUploads, "
    "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload below the prefix",
    "NoSuchBucket": "there is no such bucket; check the target's spelling and AWS_REGION or AWS_ENDPOINT_URL_S3",
    "NotImplemented": "the store lacks conditional writes (If-Match, If-None-Match), without which two publishers "
    "can't be kept apart; publish through a mount of it instead",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID, AWS_PROFILE or the role of this pod",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY, AWS_PROFILE or the role of this pod",
    "ExpiredToken": "renew the credentials",
}


class S3:
    """`Storage` in S3. Credentials, region and endpoint are found by boto3's usual chain.

    Args:
        bucket: its name.
        prefix: where the repository's root is, without "/" at either end; "" for the bucket itself.
        owner: the model that is to be written.
    """

    def __init__(self, bucket: str, prefix: str, owner: str) -> None:
        self._bucket = bucket
        self._owner = owner
        self._prefix = f"{prefix}/" if prefix else ""
        with self._failing("connect"):
            self._client: Any = boto3.session.Session().client("s3", config=_CONFIG)

    @property
    def url(self) -> str:
        """`s3://` and the bucket and prefix."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def list(self, prefix: str) -> list[Item]:
        """See `Storage.list`."""
        with self._failing(f"list {prefix or 'the root'}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            items = [
                Item(found["Key"][len(self._prefix) :], found["Size"], int(found["LastModified"].timestamp()) * _SECOND)
                for page in pages
                for found in page.get("Contents", ())
                # Some tools write an empty object for a folder.
                if not found["Key"].endswith("/")
            ]
        return sorted(items, key=lambda item: item.path)

    def read(self, path: str) -> bytes | None:
        """See `Storage.read`."""
        found = self._get(path)
        return found[0] if found else None

    def chunks(self, path: str) -> Iterator[bytes]:
        """See `Storage.chunks`."""
        with self._failing(f"read {path}"):
            yield from self._client.get_object(**self._object(path))["Body"].iter_chunks(_CHUNK)

    def create(self, path: str, source: Path, on_bytes: OnBytes, confirm: Callable[[], None]) -> bool:
        """See `Storage.create`.

        Always in parts, even if there is one: what is not complete yet can be aborted by somebody else (`fence`), which
        a plain upload that is under way can't.
        """
        token, done = uuid.uuid4().hex, False
        with self._failing(f"write {path}"):
            upload = self._object(path)
            upload["UploadId"] = self._client.create_multipart_upload(
                **upload, ChecksumAlgorithm="SHA256", Metadata={_UPLOAD: token}
            )["UploadId"]
        try:
            with self._failing(f"write {path}"):
                parts = self._upload_parts(upload, source, on_bytes)
            confirm()
            with self._failing(f"write {path}"):
                self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
            done = True
        except _NotMetError:
            # The answer to a write that arrived may get lost; the next attempt then meets its own work.
            return self._is_of(path, token)
        finally:
            if not done:
                # What went wrong before must not be hidden; the next publisher of the model aborts it.
                with contextlib.suppress(PublisherError):
                    self._abort(upload)
        return True

    def write(self, path: str, data: bytes) -> None:
        """See `Storage.write`."""
        with self._failing(f"write {path}"):
            self._put(path, data)

    def swap(self, path: str, data: bytes, *, was: bytes | None, newer_than_ns: int = 0) -> bool:
        """See `Storage.swap`; the store itself sees to it that one of two wins."""
        self._pass(newer_than_ns)
        if was is None:
            condition = {"IfNoneMatch": "*"}
        else:
            found = self._get(path)
            if found is None or found[0] != was:
                return False
            condition = {"IfMatch": found[1]}
        try:
            with self._failing(f"write {path}"):
                self._put(path, data, **condition)
        except _NotMetError:
            # The answer to a write that arrived may get lost; the next attempt then meets its own work.
            return self.read(path) == data
        return True

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        with self._failing(f"remove {path}"):
            self._client.delete_object(**self._object(path))

    def age_secs(self, path: str) -> float | None:
        """See `Storage.age_secs`; to the second."""
        with self._failing(f"look at {path}"):
            try:
                answer = self._client.head_object(**self._object(path))
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
            return _date(answer) - float(answer["LastModified"].timestamp())

    def newest_ns(self, prefix: str) -> int:
        """See `Storage.newest_ns`."""
        return max((item.modified_ns for item in self.list(prefix)), default=0)

    def free_bytes(self) -> None:
        """S3 has no such limit."""

    def fence(self) -> None:
        """See `Storage.fence`: uploads that are not complete are aborted."""
        with self._failing("list unfinished uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{self._owner}/"
            )
            found = [upload for page in pages for upload in page.get("Uploads", ())]
        for upload in found:
            self._abort({"Bucket": self._bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]})

    def _upload_parts(self, upload: dict[str, str], source: Path, on_bytes: OnBytes) -> Sequence[Mapping[str, Any]]:
        size = source.stat().st_size
        length = max(_PART_BYTES, -(-size // _PARTS_AT_MOST))

        def send(number: int) -> Mapping[str, Any]:
            with source.open("rb") as file:
                file.seek((number - 1) * length)
                data = file.read(length)
            answer = self._client.upload_part(**upload, PartNumber=number, Body=data, ChecksumAlgorithm="SHA256")
            on_bytes(len(data))
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": answer["ChecksumSHA256"]}

        with ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="mm-publish-part") as pool:
            try:
                # An empty file has one empty part.
                return list(pool.map(send, range(1, max(-(-size // length), 1) + 1)))
            finally:
                pool.shutdown(cancel_futures=True)

    def _abort(self, upload: dict[str, str]) -> None:
        # It may have ended meanwhile.
        with contextlib.suppress(_NotMetError), self._failing("abort an unfinished upload"):
            self._client.abort_multipart_upload(**upload)

    def _is_of(self, path: str, token: str) -> bool:
        with self._failing(f"look at {path}"):
            try:
                found = self._client.head_object(**self._object(path))
            except ClientError as error:
                if _code(error) in _MISSING:
                    return False
                raise
            return bool(found["Metadata"].get(_UPLOAD) == token)

    def _object(self, path: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + path}

    def _put(self, path: str, data: bytes, **conditions: str) -> None:
        self._client.put_object(**self._object(path), Body=data, ChecksumAlgorithm="SHA256", **conditions)

    def _get(self, path: str) -> tuple[bytes, str] | None:
        with self._failing(f"read {path}"):
            try:
                answer = self._client.get_object(**self._object(path))
                return bytes(answer["Body"].read()), answer["ETag"]
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise

    def _pass(self, moment_ns: int) -> None:
        """Waits until what is written now is dated later: S3 knows whole seconds, and Triton notices nothing older."""
        while moment_ns:
            with self._failing("ask for the time"):
                now = int(_date(self._client.head_bucket(Bucket=self._bucket)))
            behind = moment_ns // _SECOND - now
            if behind < 0:
                return
            if behind > 60:
                raise Unavailable(
                    f"files of the model in {self.url} are dated {behind} s in the future, and Triton notices nothing "
                    "older; write them anew"
                )
            time.sleep(0.1)

    @contextlib.contextmanager
    def _failing(self, action: str) -> Iterator[None]:
        try:
            yield
        except NoCredentialsError as error:
            raise Unavailable(
                f"could not {action} in {self.url}: no AWS credentials; expected AWS_ACCESS_KEY_ID, AWS_PROFILE, or a "
                "role of this pod"
            ) from error
        except ClientError as error:
            if _code(error) in _NOT_MET:
                raise _NotMetError from error
            advice = _ADVICE.get(_code(error), "try again; if it stays, ask the people who run the store")
            raise Unavailable(f"could not {action} in {self.url}: {error}; {advice}") from error
        except (BotoCoreError, Boto3Error, OSError) as error:
            raise Unavailable(
                f"could not {action} in {self.url}: {error}; check the network, AWS_REGION and AWS_ENDPOINT_URL_S3"
            ) from error


class _NotMetError(Exception):
    """Somebody else was first."""


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _date(answer: Any) -> float:
    return email.utils.parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
