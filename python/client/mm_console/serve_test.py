"""The command `mm-client console`: what it prints, and what it refuses."""

from __future__ import annotations

import importlib.util
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from client_testing.pages import ModelsServer

from mm_client import __main__ as command
from mm_client import command_line


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, models_server: ModelsServer, credential: None) -> list[Any]:
    """How a server was to be run; none is."""
    configurations: list[Any] = []

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        configurations.append((server.config, sockets[0].getsockname()[0]))

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setenv("MM_ADDR", models_server.addr)
    return configurations


def test_it_prints_its_address_with_a_key(served: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["console", "--port", "0"]) == command_line.OK
    printed = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?key=[\w-]{43}\n", printed.out)
    assert printed.err == (
        "mm-client: open this address; its key lets in everybody that has it, with your rights. Ctrl-C ends it\n"
    )
    ((config, host),) = served
    # Its lines would show the key.
    assert (config.access_log, host) == (False, "127.0.0.1")


def test_behind_domino_it_prints_no_key(served: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--host", "0.0.0.0", "--port", "0", "--viewers", "ada, bob", "--root-path", "/apps/console/"]  # noqa: S104
    assert command.main(["console", *words]) == command_line.OK
    printed = capsys.readouterr()
    assert re.fullmatch(r"http://localhost:\d+/apps/console/\n", printed.out)
    assert printed.err == (
        "mm-client: lets in ada, bob, by Domino's header domino-username, with your rights. Ctrl-C ends it\n"
    )
    ((config, host),) = served
    assert (config.root_path, host) == ("/apps/console", "0.0.0.0")  # noqa: S104


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_a_port_that_is_taken_is_refused_in_words(
    served: list[Any], capsys: pytest.CaptureFixture[str], taken: int
) -> None:
    assert command.main(["console", "--port", str(taken)]) == command_line.WRONG_USE
    assert capsys.readouterr().err == (
        f"mm-client: 127.0.0.1:{taken} cannot be listened on: Address already in use; expected an address of this "
        "machine and a free port; name others by --host and --port\n"
    )
    assert served == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "65536"], "MM_CONSOLE_PORT (--port) is '65536'; expected a port from 0 to 65535"),
        (["--viewers", "a,,b"], "MM_CONSOLE_VIEWERS (--viewers) is 'a,,b'; expected names with commas between them"),
        (["--max-upload-mb", "0"], "expected a whole number of 1 or more"),
    ],
)
def test_wrong_settings_are_refused_in_words(
    served: list[Any], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert command.main(["console", *words]) == command_line.WRONG_USE
    assert said in capsys.readouterr().err
    assert served == []


def test_without_credentials_it_does_not_start(
    served: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOMINO_USER_API_KEY")
    assert command.main(["console", "--port", "0"]) == command_line.REFUSED
    assert "no Domino credentials found" in capsys.readouterr().err
    assert served == []


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("starlette", "cv2") else object())
    assert command.main(["console"]) == command_line.WRONG_USE
    assert capsys.readouterr().err == (
        "mm-client: the console needs cv2, starlette: pip install 'domino-triton-client[console]'\n"
    )
