"""Runs in Domino's namespace: devstack's stand-in for Domino's front end, on every address of its pod."""

from __future__ import annotations

import os
import signal

from devstack.domino import DominoStandIn

_PORT = 9000

with DominoStandIn(_PORT, "0.0.0.0") as domino:  # noqa: S104  a pod of its own
    domino.add_user("ann", api_key=os.environ["API_KEY_OF_ANN"])
    domino.add_user("bob", api_key=os.environ["API_KEY_OF_ANN"] + "-but-bob")
    print("serving", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
