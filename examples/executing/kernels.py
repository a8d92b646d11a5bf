"""Executes notebooks and writes them as Markdown; runs in the virtual environment, with what is installed there.

    python kernels.py OUT NOTEBOOK…

OUT gets NAME.ipynb with outputs, NAME.md, and NAME_files with its pictures. A cell that fails ends its notebook, and is
seen in both.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# A busy machine gives what takes a second a minute.
_CELL_SECS = 300


def main(out: Path, notebooks: list[Path]) -> None:
    """Executes each with a kernel and a working folder of its own, one after the other."""
    import nbformat  # type: ignore[import-not-found, unused-ignore]
    from nbclient import NotebookClient  # type: ignore[import-not-found, unused-ignore]
    from nbclient.exceptions import (  # type: ignore[import-not-found, unused-ignore]
        CellControlSignal,
        DeadKernelError,
    )
    from nbconvert import MarkdownExporter  # type: ignore[import-not-found, unused-ignore]
    from nbconvert.writers import FilesWriter  # type: ignore[import-not-found, unused-ignore]

    for path in notebooks:
        notebook: Any = nbformat.read(path, as_version=4)
        work = Path.home() / path.stem
        work.mkdir()
        client = NotebookClient(
            notebook,
            timeout=_CELL_SECS,
            startup_timeout=_CELL_SECS,
            kernel_name="python3",
            # Of a progress bar what a person sees in the end.
            coalesce_streams=True,
            # Its warning that others on this machine may listen is none for a notebook that is published.
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(work)}},
        )
        try:
            client.execute()
        except (CellControlSignal, DeadKernelError) as error:
            print(f"{path.name}: {error}", file=sys.stderr)
        nbformat.write(notebook, out / path.name)
        body, resources = MarkdownExporter().from_notebook_node(
            notebook, resources={"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
        )
        FilesWriter(build_directory=str(out)).write(body, resources, notebook_name=path.stem)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
