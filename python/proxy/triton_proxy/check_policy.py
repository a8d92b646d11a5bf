"""`triton_proxy check-policy`: what an access policy says about somebody and a model, and why."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from domino_identity import Principal
from mm_service.policy_file import read_policy
from mm_service.policy_yaml import PolicyError
from triton_proxy.access.policy import Policy

_EPILOG = """
examples:
  triton_proxy check-policy policy.yaml --user ana --model yolov8n --version 1
  triton_proxy check-policy policy.yaml --user ana --group /organizations/acme/ml --group /roles/Practitioner \\
      --model vision-detector

exit status:
  0 allowed, 1 denied, 2 where the file or the arguments can't be used
"""


def main(argv: Sequence[str]) -> int:
    """Answers one question about a policy file.

    Args:
        argv: the words after `check-policy`.

    Returns:
        0 where it is allowed, 1 where it is denied, 2 where the file can't be used.

    Raises:
        SystemExit: with 2 where the arguments are wrong, with 0 after `--help`.
    """
    arguments = _parser().parse_args(argv)
    try:
        policy = read_policy(arguments.file, Policy.parse)
    except PolicyError as error:
        sys.stderr.write(f"triton_proxy check-policy: {arguments.file} can't be used\n{error}\n")
        return 2
    principal = Principal(arguments.user, admin=arguments.admin, groups=tuple(arguments.group))
    model, version = arguments.model, arguments.version
    allowed = policy.allows(principal, model, version)
    verdicts = policy.explain(principal, model, version)
    which = f"version {version}" if version else "in the version that Triton chooses"
    groups = ", ".join(principal.groups) or "no groups (as with an API key)"
    lines = [
        f"{'allowed' if allowed else 'denied'}: model {model} {which}",
        f"  to user {principal.name}, {'an administrator' if principal.admin else 'no administrator'}, {groups}",
    ]
    # Any rule that allows it would do; the first is the one to name.
    verdicts.sort(key=lambda verdict: not verdict.allows)
    if allowed:
        lines.append(f"decided by {verdicts[0].rule}: {verdicts[0].reason}")
        verdicts = verdicts[1:]
    else:
        lines.append(f"the caller reads: {policy.denial(principal, model, version)}")
    if verdicts:
        lines.append("other rules:" if allowed else "no rule allows it:")
    lines += [f"  {verdict.rule}: {verdict.reason}" for verdict in verdicts]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if allowed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="triton_proxy check-policy",
        description="Tells whether an access policy allows somebody a model, which rule decides, and why others don't.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the policy, YAML")
    parser.add_argument("--user", required=True, help="the user's name in Domino")
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        type=_group,
        help="full path of one of the user's groups, as in a token's user_groups; may be repeated",
    )
    parser.add_argument("--admin", action="store_true", help="the user is an administrator of Domino")
    parser.add_argument("--model", required=True, help="the model's name")
    parser.add_argument("--version", default="", help="its version; without it the choice is left to Triton")
    return parser


def _group(text: str) -> str:
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is no full path; expected one such as /organizations/acme/ml")
    return text
