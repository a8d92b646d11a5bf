"""`mm-client chat`: one prompt, a conversation, and what goes wrong."""

from __future__ import annotations

import importlib.util
import io
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from client_testing import echo
from client_testing.repository import PAIR, TALKER, RepositoryServer
from client_testing.waiting import until

from mm_client import __main__ as command
from mm_client import chat_command, command_line
from mm_client.chat_prompts import Prompts
from mm_client.options import UsageError


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[RepositoryServer]:
    monkeypatch.setenv("DOMINO_USER_API_KEY", echo.API_KEY)
    with RepositoryServer() as server:
        monkeypatch.setenv("MM_ADDR", server.addr)
        yield server


def test_one_prompt_is_answered_letter_by_letter(
    repository: RepositoryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    # In pieces of four bytes its letters of three come in parts.
    assert command.main(["chat", TALKER, "世界和平"]) == command_line.OK
    assert capsys.readouterr().out == "<user>世界和平\n"
    assert command.main(["chat", TALKER, "Hi", "--system", "Be kind.", "--max-tokens", "5"]) == command_line.OK
    assert repository.heard[-1] == "<system>Be kind.<user>Hi"
    assert command.main(["chat", TALKER, "Hi", "--temperature", "0"]) == command_line.OK
    assert "model talker has no input for temperature; it is left out" in capsys.readouterr().err


def test_a_prompt_may_come_by_a_pipe(repository: RepositoryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Two\nlines"))
    assert command.main(["chat", TALKER]) == command_line.OK
    assert repository.heard == ["<user>Two\nlines"]


def test_what_is_no_language_model_is_refused(repository: RepositoryServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["chat", PAIR, "Hi"]) == command_line.WRONG_USE
    assert capsys.readouterr().err == (
        "mm-client: model pair makes no text of text: it takes x, t, scale and gives x, t; expected text_input or "
        "prompt of BYTES; mm-client try calls any model\n"
    )
    assert command.main(["chat", TALKER, " "]) == command_line.WRONG_USE
    assert repository.heard == []


class Terminal:
    """`mm-client chat` on a terminal."""

    def __init__(self, repository: RepositoryServer) -> None:
        self._near, far = pty.openpty()
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MM_ADDR": repository.addr, "TERM": "dumb"}
        words = [sys.executable, "-m", "mm_client", "chat", TALKER]
        self.process = subprocess.Popen(words, stdin=far, stdout=far, stderr=far, env=environ, start_new_session=True)
        os.close(far)
        self._shown = ""

    def wait_for(self, text: str) -> None:
        """Read on until a text was shown."""
        while text not in self._shown:
            self._shown += os.read(self._near, 4096).decode()
        self._shown = self._shown.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._near, text.encode())

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._near)


@pytest.fixture
def terminal(repository: RepositoryServer) -> Iterator[Terminal]:
    made = Terminal(repository)
    yield made
    made.close()


def test_a_conversation_goes_on_until_it_ends(repository: RepositoryServer, terminal: Terminal) -> None:
    terminal.wait_for("> ")
    terminal.type("one\n")
    terminal.wait_for("<user>one")
    terminal.wait_for("> ")
    terminal.type("two\n")
    terminal.wait_for("<user>two")
    terminal.wait_for("> ")
    # An answer that is stopped is no part of the conversation.
    repository.answering.clear()
    terminal.type("three\n")
    until(lambda: len(repository.seen) == 3)
    terminal.interrupt()
    terminal.wait_for("stopped")
    repository.answering.set()
    terminal.wait_for("> ")
    terminal.type("four\n")
    terminal.wait_for("<user>four")
    terminal.wait_for("> ")
    terminal.type("/new\n")
    terminal.wait_for("> ")
    terminal.type("five\n")
    terminal.wait_for("<user>five")
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.process.wait() == command_line.OK
    first = "<user>one<assistant><user>one"
    second = f"{first}<user>two"
    assert [said for said in repository.heard if "three" not in said] == [
        "<user>one",
        second,
        f"{second}<assistant>{second}<user>four",
        "<user>five",
    ]


def test_a_terminal_is_given_no_commands() -> None:
    assert (
        chat_command.harmless("a\x1b[2J\tb\n\x07é👩‍🚀")
        == "a\N{REPLACEMENT CHARACTER}[2J\tb\n\N{REPLACEMENT CHARACTER}é👩‍🚀"
    )


def test_without_a_template_the_form_is_plain() -> None:
    plain = Prompts({})
    assert plain.alone("Hi") == "Hi"
    assert Prompts({}, "Be kind.").alone("Hi") == "system: Be kind.\n\nuser: Hi\n\nassistant:"
    plain.answered("Hi", "Hello")
    assert plain.next("Well?") == "user: Hi\n\nassistant: Hello\n\nuser: Well?\n\nassistant:"
    plain.forget()
    assert plain.next("Hi") == "user: Hi\n\nassistant:"


def test_a_template_gets_what_it_needs_and_nothing_else() -> None:
    words = "{{ bos_token }}{{ messages[0].content }}{% if add_generation_prompt %}>{% endif %}"
    assert Prompts({"chat_template": words, "bos_token": "<s>"}).alone("Hi") == "<s>Hi>"
    for template, text in [
        ("{{ raise_exception('only users') }}", "does not take this conversation: only users"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{% include '/etc/passwd' %}", "does not take this conversation"),
        ("{{ 1 / 0 }}", "does not take this conversation: division by zero"),
        ("{% for %}", "does not take this conversation"),
    ]:
        with pytest.raises(UsageError, match=text):
            Prompts({"chat_template": template}).alone("Hi")


def test_without_the_extra_a_template_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else find(name))
    prompts = Prompts({"chat_template": "{{ messages }}"})
    assert prompts.notes == ("the model's chat template is not used: pip install 'domino-triton-client[chat]'",)
    assert prompts.alone("Hi") == "Hi"
