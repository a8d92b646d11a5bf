"""Sends a proxy, with a stand-in for Triton behind, what no client would, for minutes, and says what came of it.

Every answer has to be one that the document has, or the end of the connection; nothing may hang, stay behind or grow.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fuzzing.campaign import Campaign, Found, Subject, reduced
from fuzzing.inputs import read_corpus, write_corpus
from fuzzing.surfaces import SURFACES, Surface, named

from devstack.command import leave_on_signals, user_path
from devstack.up import say

CORPUS = Path(__file__).with_name("corpus")


def fuzz(surface: Surface, seconds: float, seed: int, corpus: Path | None) -> Found:
    """Fuzzes a surface with a proxy of its own.

    Args:
        surface: what is fuzzed.
        seconds: for so long.
        seed: of chance.
        corpus: a folder that the reduced corpus is written into; None for nowhere.
    """
    with Subject() as subject:
        campaign = Campaign(surface, read_corpus(CORPUS / f"{surface.name}.jsonl"), subject, seed)
        found = campaign.run(seconds, say)
    if corpus is not None:
        write_corpus(corpus / f"{surface.name}.jsonl", reduced(found.kept))
    return found


def main() -> int:
    """Returns 0 where nothing was wrong, 1 where something was."""
    leave_on_signals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ",".join(surface.name for surface in SURFACES)
    parser.add_argument("--surface", default="", metavar="NAME,…", help=f"these; all by default: {names}")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each surface [10]")
    parser.add_argument("--seed", type=int, help="of chance; the time by default")
    parser.add_argument("--corpus", type=user_path, help="a folder for the reduced corpus, a file for each surface")
    options = parser.parse_args()
    try:
        surfaces = named([name for name in options.surface.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    seed = int(time.time()) if options.seed is None else options.seed
    wrong = 0
    for surface in surfaces:
        found = fuzz(surface, 60 * options.minutes, seed, options.corpus)
        wrong += len(found.problems)
        print(f"{found.line()} (seed {seed})", flush=True)
        for text, sent in found.problems[:20]:
            print(f"  {text}\n    {sent}", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
