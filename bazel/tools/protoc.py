"""protoc with the well-known types on its path."""

from __future__ import annotations

import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

WELL_KNOWN_TYPES = Path(grpc_tools.__file__).parent / "_proto"

if __name__ == "__main__":
    sys.exit(protoc.main(["protoc", *sys.argv[1:], f"--proto_path={WELL_KNOWN_TYPES}"]))
