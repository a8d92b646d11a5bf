from __future__ import annotations

import io

from mm_publisher.progress import Progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_come_without_secrets_and_bars_only_on_a_terminal() -> None:
    for out, bar in ((io.StringIO(), False), (_Terminal(), True)):
        progress = Progress(out=out)
        progress.say("asking https://ann:s3cret@mlflow")
        with progress.transfer("writing", 2_000_000) as on_bytes:
            on_bytes(2_000_000)
        lines = out.getvalue()
        assert "mm-publish: asking https://***@mlflow\n" in lines
        assert "mm-publish: writing\n" in lines
        assert ("2.00M/2.00M" in lines or "0.00/2.00M" in lines) == bar
