"""Triton, the Domino stand-in and the proxy together."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack import language_models, models
from devstack.domino import DominoStandIn
from devstack.proxy import Proxy
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels

USER = "ada"
_READY_SECONDS = 5.0


@dataclass(frozen=True)
class Stack:
    """What runs.

    Attributes:
        triton: behind the wall.
        domino: knows USER by `api_key`.
        proxy: in front.
        api_key: the credential that the proxy lets in.
        repository: the folder that Triton polls.
        missing: why a language model is not among those that were made, by name.
    """

    triton: Triton
    domino: DominoStandIn
    proxy: Proxy
    api_key: str
    repository: Path
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name it to programs, the library and the notebooks."""
        return {
            "MM_ADDR": self.proxy.addr,
            "MM_HTTP_URL": self.proxy.http_url,
            "DOMINO_USER_API_KEY": self.api_key,
            "DOMINO_HOST": self.domino.url,
            "TRITON_URL": self.triton.grpc_url,
            "MM_METRICS_URL": self.proxy.metrics_url,
            "MM_MODEL_REPOSITORY": str(self.repository),
        }

    @property
    def failure(self) -> str | None:
        """Says what no longer runs, or None."""
        if not self.triton.running:
            return "Triton has ended"
        return None if self.proxy.running else "the proxy has ended"


@contextlib.contextmanager
def running_stack(
    folder: Path,
    repository: Path | None,
    say: Callable[[str], None],
    samples: Collection[str] = tuple(models.MODELS),
) -> Iterator[Stack]:
    """Brings the stack up on free ports of this machine, and down again.

    Args:
        folder: an empty folder for logs and the model repository.
        repository: a model repository to serve as it is; None makes one by code.
        say: takes a line about what is being done.
        samples: which of `models.MODELS` are made, beside the language models.

    Yields:
        The stack, with every model ready.

    Raises:
        TritonError: Triton did not start, or a model is not ready.
        TritonWheelsError: there is no Triton.
        ProxyError: the proxy did not start.
    """
    missing: Mapping[str, str] = {}
    if repository is None:
        say(f"making a model repository with {len(samples)} sample models")
        models.write_repository(folder / "models", samples)
        missing = language_models.write_language_models(folder / "models", folder / "language")
        for name, reason in missing.items():
            say(f"without {name}: {reason}")
    with contextlib.ExitStack() as stack:
        domino = stack.enter_context(DominoStandIn())
        api_key = secrets.token_urlsafe(24)
        domino.add_user(USER, api_key=api_key)
        say("starting Triton")
        triton = stack.enter_context(
            Triton(
                repository or folder / "models",
                triton_wheels(),
                log=folder / "triton.log",
                auto_complete_config=repository is not None,
            )
        )
        triton.wait_ready(timeout=_READY_SECONDS)
        say("starting the proxy")
        proxy = stack.enter_context(Proxy(triton.grpc_url, domino.url, log=folder / "proxy.log"))
        yield Stack(triton, domino, proxy, api_key, repository or folder / "models", missing)
