"""The command line of `mm-publish`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping

import numpy as np

from mm_client.options import CA_BUNDLE, TLS, add_options, read_options
from mm_publisher.api import DEFAULT_LEASE_WAIT_SECS
from mm_publisher.errors import UsageError
from mm_publisher.lease import DEFAULT_SECS
from mm_publisher.plan import DEFAULT_KEEP
from mm_publisher.serving import DEFAULT_READY_SECS, Proxy, Sample, Server
from mm_publisher.write_config import ConfigOptions

# Batches and delays are 32-bit and 64-bit in Triton's proto; this many digits fit both.
_NUMBER = re.compile(r"[0-9]{1,9}")
_DAY_SECS = 86_400

_EPILOG = """\
Model files are written first and read back; config.pbtxt comes last and names its versions, so that Triton never takes
half a model. The new version is then asked through the proxy, and what served before is put back if it does not answer.
Before anything is written, config.pbtxt and model are checked by the rules of Triton's own code. An ensemble needs no
more than its config.pbtxt, and the models of its steps in the repository.

examples:
  mm-publish publish models:/churn@champion s3://models/triton/inference-dev/triton-inference-server/models
  mm-publish publish ./churn /domino/edv/models --write-config --dynamic-batching
  mm-publish rollback churn s3://models/triton/inference-dev/triton-inference-server/models
  mm-publish verify /domino/edv/models --json

credentials: for s3:// boto3's (AWS_PROFILE, a pod's role, ...), for models:/ MLflow's (MLFLOW_TRACKING_TOKEN, ...), for
the proxy Domino's (DOMINO_USER_TOKEN, $DOMINO_API_PROXY/access-token, DOMINO_USER_API_KEY, Authorization).

exit status:
  0    done
  1    verify or diff found a difference
  2    wrong use; nothing was written
  3    refused by a check; nothing was written
  4    rolled back: the version does not serve, and what served before does
  5    somebody else publishes this model
  6    the store, the registry or the proxy failed; the text says what state that leaves
  130  interrupted (143: by SIGTERM); the next mm-publish of the model finishes or undoes what was begun
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = _parser("mm-publish", "Publish models into the repository that Triton polls: checked, verified, reversible.")
    top.epilog = _EPILOG
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    one = _command(commands, "publish", "Make a version of a model serve.")
    _add_source(one)
    one.add_argument("--keep", type=_count, default=DEFAULT_KEEP, metavar="N",
                     help="So many of the versions that serve now go on serving, for callers who name them "
                     "(default %(default)s).")  # fmt: skip
    one.add_argument("--dry-run", action="store_true", help="Check and tell what would be done; write nothing.")
    _add_proxy(one)
    _add_lease(one)

    one = _command(commands, "rollback", "Make an earlier version serve again, with the configuration it had.")
    one.add_argument("model", metavar="MODEL", help="The model's name.")
    _add_target(one)
    one.add_argument("--to-version", metavar="V", help="That version (default: the one that served before).")
    _add_proxy(one)
    _add_lease(one)

    one = _command(commands, "list", "Show models, their versions, and which serve.")
    _add_repository(one)

    one = _command(commands, "diff", "Show what publishing a source would change; exit status 1 where it would.")
    _add_source(one)

    one = _command(commands, "retire", "Remove a version that does not serve, for good.")
    one.add_argument("model", metavar="MODEL", help="The model's name.")
    one.add_argument("version", metavar="VERSION", help="Its number.")
    _add_target(one)
    _add_lease(one)

    one = _command(commands, "verify", "Read files back and hold them against what was published.")
    _add_repository(one)
    return top


def server(given: argparse.Namespace, environ: Mapping[str, str], say: Callable[[str], None]) -> Server | None:
    """The proxy to ask, or None with --no-wait.

    Args:
        given: parsed arguments.
        environ: the environment.
        say: takes a line about what is being waited for.

    Raises:
        UsageError: neither is given.
    """
    if given.no_wait:
        return None
    addr = given.addr or environ.get("MM_ADDR")
    if not addr:
        raise UsageError(
            "no proxy is given to see the version serve through; expected --addr HOST:PORT or MM_ADDR. --no-wait "
            "publishes without asking, for a repository that no Triton reads yet"
        )
    settings = read_options((TLS, CA_BUNDLE), vars(given), environ)
    return Proxy(
        addr,
        tls=settings["mm_tls"],
        ca_bundle=settings["mm_ca_bundle"] or None,
        sample=None if given.sample is None else _sample(given.sample),
        ready_secs=given.ready_timeout,
        say=say,
    )


def config_options(given: argparse.Namespace) -> ConfigOptions | None:
    """How to make a config.pbtxt; None where the source has one.

    Args:
        given: parsed arguments.

    Raises:
        UsageError: options without --write-config.
    """
    options = ConfigOptions(
        gpu=given.gpu,
        instances=given.instances,
        max_batch_size=given.max_batch_size,
        dynamic_batching=given.dynamic_batching,
        preferred_batch_sizes=given.preferred_batch_sizes,
        max_queue_delay_us=given.max_queue_delay_us,
    )
    if given.write_config:
        return options
    if options != ConfigOptions():
        raise UsageError("options about the configuration need --write-config; without it the source's own is taken")
    return None


def _add_source(one: argparse.ArgumentParser) -> None:
    one.add_argument("source", metavar="SOURCE",
                     help="models:/NAME/VERSION, models:/NAME@ALIAS, or a folder; in both, config.pbtxt beside the "
                     "model's files, a model's folder of versions, or what MLflow's flavours write.")  # fmt: skip
    _add_target(one)
    one.add_argument("--name", help="The model's name (default: config.pbtxt's, the registered model's, the folder's).")
    one.add_argument("--version", metavar="V",
                     help="Its number (default: the registered one; the next, for a folder), "
                     "and which version folder is meant where there are several.")  # fmt: skip
    group = one.add_argument_group("a config.pbtxt made from model.onnx, or the only .onnx file")
    group.add_argument("--write-config", action="store_true", help="Make one; the source must have none.")
    group.add_argument("--gpu", action="store_true", help="Run on GPUs (default: on the CPU).")
    group.add_argument("--instances", type=_positive, default=1, metavar="N", help="Instances; on GPUs, on each.")
    group.add_argument("--max-batch-size", type=_count, metavar="N", help="0 for none (default: 8 if the model can).")
    group.add_argument("--dynamic-batching", action="store_true", help="Let Triton put requests together.")
    group.add_argument("--preferred-batch-sizes", type=_numbers, default=(), metavar="N,N", help="Batches to aim for.")
    group.add_argument(
        "--max-queue-delay-us", type=_count, default=0, metavar="US", help="Longest wait for others, µs."
    )


def _add_target(one: argparse.ArgumentParser) -> None:
    one.add_argument("target", metavar="TARGET", help="s3://BUCKET/PREFIX or a folder: the model repository's root.")


def _add_repository(one: argparse.ArgumentParser) -> None:
    _add_target(one)
    one.add_argument("--model", metavar="NAME", help="Only this one.")


def _add_proxy(one: argparse.ArgumentParser) -> None:
    group = one.add_argument_group("seeing the version serve")
    group.add_argument("--addr", metavar="HOST:PORT", help="The proxy. [MM_ADDR]")
    group.add_argument("--no-wait", action="store_true", help="Ask nobody: no Triton reads this repository yet.")
    group.add_argument("--ready-timeout", type=_seconds, default=DEFAULT_READY_SECS, metavar="SECS",
                       help="Longest wait, Triton's poll interval and loading included "
                       "(default %(default)g).")  # fmt: skip
    group.add_argument("--sample", metavar="FILE.npz", help="Inputs by name to ask with (default: zeros).")
    add_options(one, (TLS, CA_BUNDLE))


def _add_lease(one: argparse.ArgumentParser) -> None:
    group = one.add_argument_group("other publishers of the same model")
    group.add_argument("--wait-for-lease", type=_seconds, default=DEFAULT_LEASE_WAIT_SECS, metavar="SECS",
                       help="Longest wait for another (default %(default)g).")  # fmt: skip
    group.add_argument("--lease-secs", type=_seconds, default=DEFAULT_SECS, metavar="SECS",
                       help="Silent for so long, this one may be taken for dead (default %(default)g).")  # fmt: skip


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, allow_abbrev=False, epilog="Examples and exit status: mm-publish --help"
    )
    one.add_argument("--json", action="store_true", help="Print the result as JSON; progress goes to standard error.")
    return one


def _parser(name: str, text: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=name, description=text, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def _sample(path: str) -> Sample:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(
            f"the sample {path} cannot be read: {error}; expected a .npz file with an array per input"
        ) from error


def _count(text: str) -> int:
    return _whole(text, 0)


def _positive(text: str) -> int:
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least}")
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _DAY_SECS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0, of at most a day ({_DAY_SECS})")
    return value
