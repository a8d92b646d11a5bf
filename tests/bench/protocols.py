"""Measures what the paths do not: ghz, the first token, small calls beside large ones, TLS, a Triton that stalls.

Writes protocols.md, a line for each figure. docs/benchmark.md says what each is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmark import paths, stand
from benchmark.single import FIGURES, Context, SingleError
from benchmark.worker_process import WorkerError
from devstack.child import scratch_folder
from devstack.command import leave_on_signals, user_path
from devstack.runfiles import runfiles
from devstack.up import FAILED, START_ERRORS, say
from service_testing.authority import Authority

# As in bench.py: one principal here has the share of many.
_SETTINGS = {"MAX_MB_IN_FLIGHT_PER_PRINCIPAL": "512"}
_HOST = "localhost"


def _measured(name: str, context: Context) -> Iterator[str]:
    say(f"{name}: {(FIGURES[name].__doc__ or '').splitlines()[0]}")
    try:
        for line in FIGURES[name](context):
            say(f"  {line}")
            yield line
    except (SingleError, WorkerError) as error:
        say(f"  cannot measure: {error}")
        yield f"{name}: not measured: {error}"


def _plain(names: list[str], options: argparse.Namespace, folder: Path) -> Iterator[str]:
    with stand.running(folder, {paths.ENVOY, paths.OURS}, _SETTINGS) as running:
        context = Context(running, folder, options.rounds, options.seconds, options.ghz)
        for name in names:
            yield from _measured(name, context)


def _with_tls(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    folder.mkdir()
    authority = Authority("bench")
    pair = authority.issue(_HOST)
    files_of = {"ca.crt": authority.pem, "tls.crt": pair.certificate, "tls.key": pair.key}
    for name, content in files_of.items():
        (folder / name).write_bytes(content)
    certificate, key = folder / "tls.crt", folder / "tls.key"
    settings = {**_SETTINGS, "TLS_CERT_FILE": str(certificate), "TLS_KEY_FILE": str(key)}
    with stand.running(folder, {paths.ENVOY, paths.OURS}, settings, (certificate, key)) as running:
        yield from _measured("tls", Context(running, folder, options.rounds, options.seconds, None, folder / "ca.crt"))


def _ghz() -> Path | None:
    return next(runfiles("ghz/bin/ghz"), None)


def main() -> int:
    """Returns 0 whatever the figures are; 1 where it could not measure."""
    leave_on_signals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=user_path, required=True, help="folder for the results")
    parser.add_argument("--only", default=",".join(FIGURES), metavar="FIGURE,…", help=f"[{','.join(FIGURES)}]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement in a round [5]")
    parser.add_argument("--ghz", type=user_path, default=_ghz(), help="the program; by default Bazel's")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name]
    if unknown := [name for name in names if name not in FIGURES]:
        parser.error(f"no figure {', '.join(unknown)}; expected some of {', '.join(FIGURES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    with scratch_folder("protocols-") as folder:
        try:
            plain = [name for name in names if name != "tls"]
            lines += _plain(plain, options, folder) if plain else []
            lines += _with_tls(options, folder / "tls") if "tls" in names else []
        except (*START_ERRORS, stand.StandError) as error:
            say(f"cannot measure: {error}")
            return FAILED
    text = "# Figures of one thing each\n\n" + "".join(f"- {line}\n" for line in lines)
    (options.out / "protocols.md").write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
