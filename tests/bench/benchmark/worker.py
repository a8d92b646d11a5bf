"""A client as a process of its own: `worker WAY ADDRESS`, with the API key in DOMINO_USER_API_KEY.

Each line on standard input is a `Load` as JSON; each is answered by a line, an `Outcome`. It ends with its input.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

from benchmark import contract_ways, http_way, stream_ways, triton_ways
from benchmark.paths import HTTP
from benchmark.tally import Load, Outcome


class Way(Protocol):
    """One way to make requests."""

    def run(self, load: Load) -> Outcome:
        """Plays a load to its end."""


WAYS: Mapping[str, Callable[[str, str], Way]] = {
    "triton_unary": triton_ways.Unary,
    "triton_async": triton_ways.Async,
    "triton_stream": triton_ways.Stream,
    HTTP: http_way.Http,
    "post_json": http_way.Json,
    "published": contract_ways.Published,
    "new_unary": contract_ways.NewUnary,
    "new_stream": contract_ways.NewStream,
    "connections": contract_ways.Connections,
    "busy_streams": stream_ways.Busy,
    "idle_streams": stream_ways.Idle,
}


def main() -> int:
    """Serves the pipe."""
    way = WAYS[sys.argv[1]](sys.argv[2], os.environ["DOMINO_USER_API_KEY"])
    # Whatever a library prints must not come between the lines of the protocol.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        outcome = way.run(Load(**json.loads(line)))
        answers.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
    return 0


if __name__ == "__main__":
    # Threads of clients that wait for an answer that will not come must not keep the process.
    status = main()
    os._exit(status)
