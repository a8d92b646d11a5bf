from __future__ import annotations

import asyncio

from benchmark.authorizer import Authorization, CheckRequest, CheckResponse
from devstack.domino import DominoStandIn

KEY = "s3cret-key-of-ann"


def envoy_asks(key: str) -> bytes:
    """A CheckRequest on the wire, as envoy.service.auth.v3 numbers its fields, with some that we do not declare."""

    def field(number: int, data: bytes) -> bytes:
        assert len(data) < 128
        return bytes([number << 3 | 2, len(data)]) + data

    header = field(1, b"x-domino-api-key") + field(2, key.encode())
    http = field(1, b"17") + field(2, b"POST") + field(3, field(1, b":path") + field(2, b"/x")) + field(3, header)
    return field(1, field(1, b"") + field(4, field(1, b"") + field(2, http)))


def test_it_asks_domino_once_and_lets_in_whom_domino_knows() -> None:
    with DominoStandIn() as domino:
        domino.add_user("ann", api_key=KEY)
        authorization = Authorization(domino.url)

        def code(key: str) -> int:
            request = CheckRequest.FromString(envoy_asks(key))
            response = asyncio.run(authorization.check(request, None)).SerializeToString()
            return int(CheckResponse.FromString(response).status.code)

        assert [code(KEY), code(KEY), code(KEY)] == [0, 0, 0]
        assert domino.calls == 1
        assert code("another") == 16
