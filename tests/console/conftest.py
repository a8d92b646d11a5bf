"""The stack, a scale service, consoles and a browser for the test of the console's pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from conformance.programs import MissingError, files
from console_browser import chromium
from console_browser.front import DominoFront
from console_browser.page import Page
from devstack import language_models, models
from devstack.proxy import python_environment
from devstack.stack import Stack, running_stack
from scaler_testing.api_server import ApiServer
from scaler_testing.service import ADMIN_KEY, USER_KEY, Service

MODELS = (models.DETECTOR, models.TEXT, models.AUDIO, models.ADD_SUB, models.IMAGE_MEAN, models.SQUARE)
# Administrators may do all; ann may look.
POLICY = """
rules:
  - {allow: {admins: true}, deployments: [inference-server, proxy], verbs: [view, scale, restart], replicas: {max: "4"}}
  - {allow: {users: [ann]}, deployments: [inference-server], verbs: [view]}
"""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    models.write_repository(folder / "models", MODELS)
    missing = language_models.write_language_models(folder / "models", folder / "language")
    assert language_models.CHAT not in missing
    with running_stack(folder, folder / "models", print) as running:
        running.domino.add_user("root", api_key=ADMIN_KEY)
        running.domino.add_user("ann", api_key=USER_KEY)
        yield running


@pytest.fixture(scope="session")
def cluster() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture(scope="session")
def scaler(cluster: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(cluster, tmp_path_factory.mktemp("scaler")) as running:
        running.write_policy(POLICY)
        yield running


@pytest.fixture(scope="session")
def console_of(stack: Stack, scaler: Service) -> Iterator[Callable[..., str]]:
    """Starts `mm-client console` with somebody's key; returns the address that it prints."""
    with ExitStack() as consoles:

        def start(api_key: str, *options: str) -> str:
            environment = {
                **python_environment(),
                "DOMINO_USER_API_KEY": api_key,
                "MM_ADDR": stack.proxy.addr,
                "MM_HTTP_URL": stack.proxy.http_url,
                "MM_METRICS_URL": stack.proxy.metrics_url,
                "MM_SCALE_URL": f"http://127.0.0.1:{scaler.port}",
            }
            words = [sys.executable, "-P", "-m", "mm_client", "console", "--port", "0", *options]
            process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
            consoles.enter_context(process)
            consoles.callback(process.terminate)
            assert process.stdout is not None
            return process.stdout.readline().strip()

        yield start


@pytest.fixture(scope="session")
def root_address(console_of: Callable[..., str]) -> str:
    """Of the console of an administrator, with its key."""
    return console_of(ADMIN_KEY)


@pytest.fixture(scope="session")
def app_of_ann(console_of: Callable[..., str]) -> str:
    """Of the console that ann, with the right to look alone, has published as a Domino App for herself and bob."""
    everywhere = "0.0.0.0"  # noqa: S104 - as in Domino; its viewers are named
    printed = console_of(USER_KEY, "--host", everywhere, "--viewers", "ann,bob")
    # The browser knows no names.
    return printed.rstrip("/").replace("localhost", "127.0.0.1")


@pytest.fixture
def seen_by(app_of_ann: str) -> Iterator[Callable[[str], str]]:
    """Returns the address at which a Domino user sees ann's App."""
    with ExitStack() as fronts:

        def front(viewer: str) -> str:
            made = DominoFront(app_of_ann, viewer)
            fronts.callback(made.close)
            return made.url

        yield front


@pytest.fixture(scope="session")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with chromium.running(tmp_path_factory.mktemp("chromium")) as address:
            yield address
    except MissingError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's script."""
    try:
        # One file stands for the packages, which lie around it where it really is.
        packages = (files("axe_core", "node_modules") / ".package-lock.json").resolve().parent
    except MissingError as reason:
        pytest.skip(str(reason))
    return (packages / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def page(devtools: str) -> Iterator[Page]:
    opened = Page(devtools)
    yield opened
    opened.close()
