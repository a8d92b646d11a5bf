"""A form as it was sent, and its files in a folder of their own."""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import FormData, UploadFile

from mm_console.problems import Problem
from mm_console.samples import Samples

_LONGEST_NAME = 80


class Form:
    """The fields and files of a request. Close it: its files are deleted then.

    Attributes:
        from_script: whether the page's script sent it, which wants a part of a page.
    """

    def __init__(self, data: FormData, folder: Path, *, from_script: bool) -> None:
        """Put the files on disk.

        Args:
            data: as Starlette read it.
            folder: where a folder for them is made.
            from_script: see above.
        """
        self.from_script = from_script
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        # Also where nobody closes it: an answer that is not begun, since the browser went away.
        self._delete = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._texts = {name: value for name, value in data.multi_items() if isinstance(value, str)}
        self._files: Mapping[str, Path] = {
            name: self._kept(number, value)
            for number, (name, value) in enumerate(data.multi_items())
            if isinstance(value, UploadFile) and value.filename
        }

    def _kept(self, number: int, upload: UploadFile) -> Path:
        folder = self._folder / str(number)
        folder.mkdir()
        # What a browser calls it is shown in errors; of a path only the name counts.
        name = Path((upload.filename or "").replace("\\", "/")).name.replace("\0", "")[-_LONGEST_NAME:]
        path = folder / (name if name not in ("", ".", "..") else "upload")
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        return path

    def text(self, name: str) -> str:
        """A field; empty where there is none."""
        return self._texts.get(name, "")

    def number(self, name: str, otherwise: float, low: float, high: float) -> float:
        """A field that is a number.

        Raises:
            Problem: it is none, or out of range.
        """
        text = self.text(name).strip()
        try:
            value = float(text) if text else otherwise
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise Problem(
                f"{name.replace('_', ' ').capitalize()} is {text!r}.",
                f"A number from {low:g} to {high:g}.",
                "Correct it and try again.",
            )
        return value

    def upload(self, name: str) -> tuple[Path | None, str]:
        """A file and what its sender calls it; None and nothing where there is none."""
        path = self._files.get(name)
        return (path, path.name) if path is not None else (None, "")

    def file(self, name: str, samples: Samples, sample: str) -> Path:
        """A file, or the sample where that is asked for.

        Raises:
            Problem: there is neither.
        """
        if self.text("sample"):
            return samples.path(sample)
        path, _ = self.upload(name)
        if path is None:
            raise Problem("No file was chosen.", "A file.", "Choose one, or take the sample.")
        return path

    def cleaned(self, problem: Problem) -> Problem:
        """Return a problem in which files are called as their sender does."""
        marks = [f"{self._folder / str(number)}/" for number in range(len(self._files) + len(self._texts))]
        parts = [problem.wrong, problem.expected, problem.advice]
        for mark in marks:
            parts = [part.replace(mark, "") for part in parts]
        return Problem(parts[0], parts[1], parts[2], problem.status)

    def close(self) -> None:
        """Delete the files."""
        self._delete()
