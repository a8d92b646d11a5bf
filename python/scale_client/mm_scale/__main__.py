"""The command `mm-scale`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from mm_client_api.errors import CredentialsError
from mm_scale import render, schedule
from mm_scale.client import INFERENCE_SERVER, PROXY, ScaleClient
from mm_scale.errors import NotAuthenticatedError, ScaleError, UsageError
from mm_scale.following import NewLines
from mm_scale.values import Deployment, Deployments

_INTERRUPTED = 130
_FOLLOW_EVERY_SECS = 2.0
_MOST_LINES = 5000
# What was read a moment before the last reading is read again, so that nothing falls between two.
_OVERLAP_SECS = 10
_EPILOG = """
examples:
  mm-scale status                                   how the installation is, and what you may do
  mm-scale status -d inference-server               its pods and latest events
  mm-scale scale 2 --wait                           two Tritons, with progress until they serve
  mm-scale scale 0 --reason "nobody here overnight"
  mm-scale scale 3 -d proxy --dry-run               would that be allowed?
  mm-scale resources set --requests cpu=4,memory=16Gi --limits memory=16Gi,gpu=1 --wait
  mm-scale restart --wait
  mm-scale logs -f
  mm-scale schedule --off 20:00 --on 07:00 --days mon-fri --time-zone Europe/Berlin --replicas 2 > schedule.yaml

The service's address is --url or MM_SCALE_URL: http://{inference-server-name}-admin.{namespace}:8000. Credentials are
found where Domino puts them: DOMINO_USER_TOKEN, $DOMINO_API_PROXY/access-token, DOMINO_USER_API_KEY, Authorization.

exit status:
  0 done, 1 refused or stuck, 2 wrong use, 3 not known or not allowed, 4 no answer, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    flags = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    if flags.run == _schedule:
        return _schedule(flags)
    try:
        if not flags.url:
            raise UsageError(
                "the scale service's address is not set; expected"
                " http://{inference-server-name}-admin.{namespace}:8000; give it as --url or MM_SCALE_URL"
            )
        with ScaleClient(flags.url, ca_bundle=flags.ca_bundle or None) as client:
            run: Callable[[ScaleClient, argparse.Namespace], None] = flags.run
            run(client, flags)
    except CredentialsError as error:
        return _say(str(error), NotAuthenticatedError.exit_status)
    except ScaleError as error:
        return _say(str(error), error.exit_status)
    except BrokenPipeError:
        # `mm-scale logs | head`: the reader has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _say("interrupted; what was asked for still stands", _INTERRUPTED)
    return 0


def _status(client: ScaleClient, flags: argparse.Namespace) -> None:
    if flags.deployment is None:
        found = client.deployments()
        if not flags.json and not found:
            raise ScaleError("you may see nothing here; ask the installation's operator for a rule of its scale policy")
        _print(flags, [asdict(each) for each in found], lambda: render.deployments(found))
        return
    status, pods, events = client.status(flags.deployment), client.pods(flags.deployment), []
    events = client.events(flags.deployment)
    answer = {"status": asdict(status), "pods": [asdict(each) for each in pods], "events": events}
    parts = [render.deployments(Deployments([status])), render.pods(pods), *([render.events(events)] if events else [])]
    _print(flags, answer, lambda: "\n\n".join(parts))


def _scale(client: ScaleClient, flags: argparse.Namespace) -> None:
    what = flags.deployment or INFERENCE_SERVER
    answer = client.scale(flags.replicas, what, **_change(flags))
    would = "would be" if flags.dry_run else "is"
    _print(flags, answer, lambda: f"{what} {would} scaled to {answer['desired_replicas']} replicas", wait=True)
    _wait(client, flags, what)


def _resources(client: ScaleClient, flags: argparse.Namespace) -> None:
    answer = client.resources(flags.deployment or INFERENCE_SERVER, container=flags.container)
    _print(flags, answer, lambda: render.resources(answer))


def _set_resources(client: ScaleClient, flags: argparse.Namespace) -> None:
    what = flags.deployment or INFERENCE_SERVER
    answer = client.set_resources(
        what, requests=flags.requests, limits=flags.limits, container=flags.container, **_change(flags)
    )
    _print(flags, answer, lambda: render.resources(answer), wait=True)
    _wait(client, flags, what)


def _restart(client: ScaleClient, flags: argparse.Namespace) -> None:
    what = flags.deployment or INFERENCE_SERVER
    answer = client.restart(what, **_change(flags))
    text = f"{what} would be restarted" if flags.dry_run else f"{what} is restarting"
    _print(flags, asdict(answer), lambda: text, wait=True)
    _wait(client, flags, what)


def _logs(client: ScaleClient, flags: argparse.Namespace) -> None:
    what = flags.deployment or INFERENCE_SERVER
    if not flags.follow:
        text = client.logs(
            what, tail_lines=flags.tail, pod=flags.pod, container=flags.container, timestamps=flags.timestamps
        )
        sys.stdout.write(text)
        return
    logs: dict[str, NewLines] = {}
    read_at: float | None = None
    while True:
        began = time.monotonic()
        names = [pod.name for pod in client.pods(what) if flags.pod in ("", pod.name)]
        for name in names:
            first = name not in logs
            since = None if first or read_at is None else int(began - read_at) + _OVERLAP_SECS
            lines = client.logs(
                what,
                tail_lines=flags.tail if first else _MOST_LINES,
                pod=name,
                container=flags.container,
                since_secs=since,
                timestamps=True,
            )
            for line in logs.setdefault(name, NewLines()).of(lines):
                sys.stdout.write(f"{name}: {line}\n" if len(names) > 1 else f"{line}\n")
        sys.stdout.flush()
        read_at = began
        time.sleep(_FOLLOW_EVERY_SECS)


def _schedule(flags: argparse.Namespace) -> int:
    made = schedule.entries(
        flags.off,
        flags.on,
        flags.days,
        time_zone=flags.time_zone,
        deployment=flags.deployment or INFERENCE_SERVER,
        replicas=flags.replicas,
        night=flags.night,
    )
    print(schedule.as_json(made) if flags.json else schedule.as_text(made))
    return 0


def _wait(client: ScaleClient, flags: argparse.Namespace, what: str) -> None:
    if not flags.wait or flags.dry_run:
        return
    live = sys.stderr.isatty()

    def shown(found: Deployment) -> None:
        # On a terminal one line that changes; elsewhere, a line for each change.
        sys.stderr.write(f"\r\033[K{render.progress(found)}" if live else f"{render.progress(found)}\n")
        sys.stderr.flush()

    try:
        found = client.wait(what, timeout_secs=flags.timeout, progress=shown)
    finally:
        if live:
            sys.stderr.write("\n")
    _print(flags, asdict(found), lambda: f"{what} is {found.state} with {found.available} replicas")


def _print(flags: argparse.Namespace, answer: Any, text: Callable[[], str], *, wait: bool = False) -> None:
    # With --json one object: the last.
    if flags.json and wait and flags.wait and not flags.dry_run:
        return
    print(json.dumps(answer, indent=2) if flags.json else text())


def _change(flags: argparse.Namespace) -> dict[str, Any]:
    return {"reason": flags.reason, "resource_version": flags.resource_version, "dry_run": flags.dry_run}


def _parser() -> argparse.ArgumentParser:
    common = _common()
    # Of a command below another one, a default would undo what was given to that.
    below = _common(argument_default=argparse.SUPPRESS)
    change = argparse.ArgumentParser(add_help=False)
    change.add_argument("--reason", default="", metavar="TEXT", help="why, for the audit log and Kubernetes' Event")
    change.add_argument("--resource-version", default="", metavar="VERSION", help="only if it still has this version")
    change.add_argument("--dry-run", action="store_true", help="do all but the change itself")
    change.add_argument("--wait", action="store_true", help="show progress until it is rolled out or stuck")
    change.add_argument("--timeout", type=_seconds, metavar="SECS", help="longest time for --wait")

    parser = argparse.ArgumentParser(
        prog="mm-scale",
        description="Scale, resize and restart an installation of models on Triton, as its policy lets you.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: object, words: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words, description=words, parents=[common, *parents], allow_abbrev=False)
        made.set_defaults(run=run)
        return made

    add("status", _status, "how the installation is; with -d, also pods and events")
    add("scale", _scale, "set the number of replicas", change).add_argument(
        "replicas", type=_count, metavar="N", help="how many; 0 stops it"
    )
    resources = add("resources", _resources, "show, or `set`, what a container asks for and may use")
    resources.add_argument("--container", default="", metavar="NAME", help="the main one by default")
    setting = resources.add_subparsers(metavar="set").add_parser(
        "set", help="change them; pods are replaced", parents=[below, change], allow_abbrev=False
    )
    setting.set_defaults(run=_set_resources)
    setting.add_argument("--container", default=argparse.SUPPRESS, metavar="NAME", help="the main one by default")
    for kind in ("requests", "limits"):
        setting.add_argument(
            f"--{kind}", type=_quantities, default={}, metavar="NAME=VALUE,…", help="cpu, memory, gpu: cpu=4,gpu=1"
        )
    add("restart", _restart, "replace the pods one after the other", change)
    times = add("schedule", _schedule, schedule.DESCRIPTION)
    schedule.add_options(times)
    times.add_argument("--replicas", type=_count, default=1, metavar="N", help="from --on until --off (1)")
    times.add_argument("--night", type=_count, default=0, metavar="N", help="from --off until --on (0)")
    logs = add("logs", _logs, "the last lines of the pods' logs")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what is new")
    logs.add_argument("--tail", type=_lines, default=200, metavar="N", help="lines of each pod, 1 to 5000 (200)")
    logs.add_argument("--pod", default="", metavar="NAME", help="one pod instead of all")
    logs.add_argument("--container", default="", metavar="NAME", help="the main one by default")
    logs.add_argument("--timestamps", action="store_true", help="begin each line with its time (without -f)")
    return parser


def _common(argument_default: str | None = None) -> argparse.ArgumentParser:
    def default(value: object) -> object:
        return value if argument_default is None else argument_default

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--url",
        default=default(os.environ.get("MM_SCALE_URL", "")),
        help="the service's address (MM_SCALE_URL)",
    )
    common.add_argument(
        "--ca-bundle",
        default=default(os.environ.get("MM_CA_BUNDLE", "")),
        metavar="FILE",
        help="PEM file of the authorities for its certificate (MM_CA_BUNDLE)",
    )
    common.add_argument(
        "-d",
        "--deployment",
        default=default(None),
        choices=(INFERENCE_SERVER, PROXY),
        help=f"which Deployment ({INFERENCE_SERVER})",
    )
    common.add_argument("--json", action="store_true", default=default(False), help="print JSON")
    return common


def _count(text: str) -> int:
    return _whole(text, 0, 9999)


def _lines(text: str) -> int:
    return _whole(text, 1, _MOST_LINES)


def _whole(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"{text!r} is none; expected a whole number from {low} to {high}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; expected seconds, such as 600")
    return value


def _quantities(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or name not in ("cpu", "memory", "gpu") or not value or name in values:
            raise argparse.ArgumentTypeError(
                f"{part!r} can't be used; expected cpu, memory and gpu, each once, such as cpu=4,memory=16Gi"
            )
        values[name] = value
    return values


def _say(text: str, status: int) -> int:
    for line in text.splitlines():
        print(f"mm-scale: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
