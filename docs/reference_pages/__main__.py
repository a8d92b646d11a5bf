"""Writes the pages of the reference into a folder: `python -m reference_pages --out FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from reference_pages import (
    api_pages,
    chart_page,
    commands_page,
    errors_page,
    logs_page,
    metrics_page,
    rest_page,
    settings_pages,
)
from scale_service.settings import Settings as ScalerSettings
from triton_proxy.settings import Settings as ProxySettings

# Not resolved: in a build the files around are links.
ROOT = Path(__file__).absolute().parents[2]


def pages(root: Path) -> Mapping[str, str]:
    """All pages: names of files to Markdown.

    Args:
        root: of the source tree.
    """
    return {
        "python-client.md": api_pages.page(
            "Python client",
            "The public names of `mm_client_api`. [The client](../../python/client/README.md) leads through them.",
            "mm_client_api",
        ),
        "python-publisher.md": api_pages.page(
            "Python publisher",
            "The public names of `mm_publisher`. [Publishing](../publishing.md) leads through them.",
            "mm_publisher",
        ),
        "python-scale.md": api_pages.page(
            "Python scale client",
            "The public names of `mm_scale`. [Scaling](../scaling.md) leads through them.",
            "mm_scale",
        ),
        "commands.md": commands_page.page(),
        "proxy-settings.md": settings_pages.page(
            "Proxy settings",
            "Environment variables of `triton_proxy`, and keys of `proxy.settings` in the chart. A wrong one stops the"
            " proxy at its start, with what it expected; an empty one counts as not set.",
            ProxySettings,
        ),
        "scaler-settings.md": settings_pages.page(
            "Scale service settings",
            "Environment variables of `scale_service`; those that say where things are the chart sets itself.",
            ScalerSettings,
        ),
        "chart-values.md": chart_page.page(root),
        "rest.md": rest_page.page(),
        "errors.md": errors_page.page(root),
        "metrics.md": metrics_page.page(),
        "logs.md": logs_page.page(root),
    }


def main() -> int:
    """Writes them."""
    parser = argparse.ArgumentParser(description="Writes the pages of the reference.", allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="The folder for them.")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages(ROOT).items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
