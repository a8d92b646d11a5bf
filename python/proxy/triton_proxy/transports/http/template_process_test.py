"""The process that renders chat templates: what one makes of it is nobody else's trouble."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from proxy_testing.processes import children
from service_testing.waiting import until
from triton_proxy.protocols.openai import template_main
from triton_proxy.protocols.openai.templates import Render, TemplateRefused
from triton_proxy.transports.http.template_process import TemplateProcess

_ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
# One operation that Python does not interrupt.
_LONG = "{{ (7 ** (10 ** 8)) % 10 }}"
_LARGE = "{{ 'a' * 10 ** 10 }}"


class Clock:
    """Seconds that a test lets pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def process(clock: Clock) -> Iterator[TemplateProcess]:
    made = TemplateProcess(clock=clock)
    yield made
    made.close()


@pytest.fixture
def render(process: TemplateProcess) -> Render:
    return process.for_call(lambda: False)


def test_one_long_operation_ends_the_process_and_the_next_template_starts_another(render: Render) -> None:
    assert render("{{ x }}", {"x": 1}) == "1"
    (first,) = children(template_main)
    with pytest.raises(TemplateRefused, match=r"^it takes too long$"):
        render(_LONG, {})
    assert children(template_main) == []
    assert render("{{ x }}", {"x": 2}) == "2"
    assert children(template_main) not in ([], [first])


def test_a_template_that_took_too_long_is_not_tried_again_at_once(
    render: Render, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for now, tried in ((0.0, 1), (59.0, 1), (61.0, 2)):
        clock.now = now
        with pytest.raises(TemplateRefused, match=r"^it takes too long$"):
            render(_ENDLESS, {})
        assert [each.getMessage() for each in caplog.records] == [
            "while it rendered a chat template, the process ended by SIGPROF; the next one starts another"
        ] * tried


def test_nor_by_those_that_have_waited_for_it(render: Render, caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(4) as threads:
        for refused in [threads.submit(render, _ENDLESS, {}) for _ in range(4)]:
            with pytest.raises(TemplateRefused, match=r"^it takes too long$"):
                refused.result()
    assert len(caplog.records) == 1


def test_a_template_that_takes_too_much_is_refused_and_the_process_goes_on(render: Render) -> None:
    with pytest.raises(TemplateRefused, match=r"^it takes more memory than there is for it: MemoryError$"):
        render(_LARGE, {})
    before = children(template_main)
    assert render("{{ x }}", {"x": "ä"}) == "ä"
    assert children(template_main) == before


def test_a_process_that_dies_is_started_anew(render: Render) -> None:
    render("x", {})
    (pid,) = children(template_main)
    os.kill(pid, signal.SIGKILL)
    until(lambda: "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
    with pytest.raises(TemplateRefused, match=r"^it ended the process that renders it$"):
        render("y", {})
    assert render("x", {}) == "x"


def test_what_is_no_text_is_refused(render: Render) -> None:
    with pytest.raises(TemplateRefused, match=r"^it makes what is no Unicode text$"):
        render("{{ '\\ud800' }}", {})


def test_every_filter_of_jinja_is_there_though_no_file_can_be_opened(render: Render) -> None:
    refused = []
    for name in ImmutableSandboxedEnvironment().filters:
        try:
            render(f"{{{{ 'a b' | {name} }}}}", {})
        except TemplateRefused as error:
            refused.append(str(error))
    assert [each for each in refused if "OSError" in each or "Import" in each] == []


def test_nothing_waits_for_a_call_that_is_over(process: TemplateProcess) -> None:
    rendered = process.for_call(lambda: True)
    # Its turn has come, so it is done all the same.
    assert rendered("x", {}) == "x"


def test_the_process_has_no_secrets_and_opens_nothing() -> None:
    code = (
        "import os, socket, json\n"
        f"from {template_main.__name__} import confine\n"
        "confine()\n"
        "said = {'environment': sorted(os.environ)}\n"
        "for name, attempt in (('file', lambda: open('/etc/passwd')), ('socket', socket.socket)):\n"
        "    try:\n"
        "        attempt()\n"
        "    except OSError as error:\n"
        "        said[name] = os.strerror(error.errno)\n"
        "print(json.dumps(said))\n"
    )
    environment = {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert (said["file"], said["socket"]) == ("Too many open files", "Too many open files")


def test_the_environment_of_the_process_is_pythons_path_alone(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_TESTS", "s3cret")
    render("x", {})
    (pid,) = children(template_main)
    names = {each.partition(b"=")[0] for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if each}
    assert names <= {b"PYTHONPATH", b"LD_LIBRARY_PATH"}
