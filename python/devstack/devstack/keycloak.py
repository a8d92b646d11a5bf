"""A real Keycloak on this machine, with realms that are made by code."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from devstack.child import Child, scratch_folder
from devstack.ports import ADDRESS, free_ports

ZIP_VARIABLE = "KEYCLOAK_ZIP"
_RUNFILES_FOLDER = Path("keycloak/files")
_UNAVAILABLE = "unavailable.txt"
# As Domino has it: https://DOMINO/auth/realms/DominoRealm.
_PATH = "/auth"
_CLIENT = "domino-play"
_ADMIN = "admin"
_SECONDS = 30.0
_POLL_SECONDS = 0.1
_LOG_TAIL_LINES = 25
_GROUPS_MAPPER = {
    "name": "user_groups",
    "protocol": "openid-connect",
    "protocolMapper": "oidc-group-membership-mapper",
    "config": {
        "claim.name": "user_groups",
        "full.path": "true",
        "access.token.claim": "true",
        "id.token.claim": "true",
    },
}


class KeycloakMissingError(Exception):
    """This machine can't run Keycloak; the text says why."""


class KeycloakError(Exception):
    """Keycloak did not start, or refused what it was asked; the text has its own words."""


def distribution() -> Path:
    """Finds Keycloak's zip.

    Looked for in the environment variable KEYCLOAK_ZIP, then in Bazel's runfiles.

    Raises:
        KeycloakMissingError: there is none, or no Java to run it with.
    """
    if shutil.which("java") is None:
        raise KeycloakMissingError("Java is not installed; Keycloak needs 17 or newer")
    if ZIP_VARIABLE in os.environ:
        return Path(os.environ[ZIP_VARIABLE])
    roots = [folder for folder in Path(__file__).absolute().parents if folder.name.endswith(".runfiles")]
    if "RUNFILES_DIR" in os.environ:
        roots.insert(0, Path(os.environ["RUNFILES_DIR"]))
    for root in roots:
        folder = root / _RUNFILES_FOLDER
        if (folder / _UNAVAILABLE).exists():
            raise KeycloakMissingError((folder / _UNAVAILABLE).read_text().strip())
        for found in folder.glob("*.zip"):
            return found
    raise KeycloakMissingError(
        f"no Keycloak in ${ZIP_VARIABLE} or Bazel's runfiles; give the Bazel target @keycloak//:files as data, or set "
        f"{ZIP_VARIABLE} to org.keycloak:keycloak-quarkus-dist of type zip"
    )


@dataclass(frozen=True)
class Tokens:
    """What a log-in gives."""

    access: str
    identity: str
    refresh: str


class Realm:
    """A realm; its groups are Domino's, and its client puts their full paths into the claim `user_groups`.

    Attributes:
        issuer: `iss` of its tokens.
        keys_url: where its public keys are.
    """

    def __init__(self, keycloak: Keycloak, name: str) -> None:
        self._keycloak = keycloak
        self._name = name
        self.issuer = f"{keycloak.url}/realms/{name}"
        self.keys_url = f"{self.issuer}/protocol/openid-connect/certs"
        keycloak.admin(
            "POST",
            "",
            {
                "realm": name,
                "enabled": True,
                "groups": [
                    {"name": "roles", "subGroups": [{"name": "SysAdmin"}, {"name": "Practitioner"}]},
                    {"name": "organizations", "subGroups": [{"name": "acme"}]},
                ],
                "clients": [
                    {
                        "clientId": _CLIENT,
                        "publicClient": True,
                        "directAccessGrantsEnabled": True,
                        "protocolMappers": [_GROUPS_MAPPER],
                    }
                ],
            },
        )

    def add_user(self, name: str, password: str, groups: Sequence[str]) -> None:
        """Makes a user who can log in.

        Args:
            name: the user's name.
            password: the password.
            groups: full paths, such as "/roles/Practitioner".
        """
        self._keycloak.admin(
            "POST",
            f"/{self._name}/users",
            {
                "username": name,
                "enabled": True,
                # Without these Keycloak wants them from the user first.
                "email": f"{name}@domino.example",
                "emailVerified": True,
                "firstName": name,
                "lastName": name,
                "groups": list(groups),
                "credentials": [{"type": "password", "value": password, "temporary": False}],
            },
        )

    def log_in(self, name: str, password: str) -> Tokens:
        """Logs a user in by name and password."""
        answer = self._keycloak.call(
            "POST",
            f"/realms/{self._name}/protocol/openid-connect/token",
            data={
                "grant_type": "password",
                "client_id": _CLIENT,
                "username": name,
                "password": password,
                "scope": "openid",
            },
        ).json()
        return Tokens(answer["access_token"], answer["id_token"], answer["refresh_token"])

    def tokens_last(self, seconds: int) -> None:
        """Makes access tokens from now on end after so many seconds."""
        self._keycloak.admin("PUT", f"/{self._name}", {"accessTokenLifespan": seconds})

    def rotate_keys(self) -> None:
        """Signs with a new RSA key from now on; those of before stay listed."""
        self._add_keys("rsa-generated", {})

    def sign_with_edwards(self, curve: str) -> None:
        """Signs access tokens with EdDSA from now on.

        Args:
            curve: "Ed25519" or "Ed448".
        """
        self._add_keys("eddsa-generated", {"eddsaEllipticCurveKey": [curve]})
        self._keycloak.admin("PUT", f"/{self._name}", {"defaultSignatureAlgorithm": "EdDSA"})

    def _add_keys(self, provider: str, config: Mapping[str, Sequence[str]]) -> None:
        realm_id = self._keycloak.admin("GET", f"/{self._name}").json()["id"]
        self._keycloak.admin(
            "POST",
            f"/{self._name}/components",
            {
                "name": secrets.token_hex(4),
                "providerId": provider,
                "providerType": "org.keycloak.keys.KeyProvider",
                "parentId": realm_id,
                # The highest wins; what comes later must be higher.
                "config": {"priority": [str(int(time.time()))], "active": ["true"], "enabled": ["true"], **config},
            },
        )

    def revoke(self, access_token: str) -> None:
        """Revokes a token: from now on Keycloak itself does not accept it any more."""
        self._keycloak.call(
            "POST",
            f"/realms/{self._name}/protocol/openid-connect/revoke",
            data={"client_id": _CLIENT, "token": access_token},
        )

    def knows(self, access_token: str) -> bool:
        """Whether Keycloak itself, asked about its user, accepts a token."""
        return self._keycloak.accepts(f"/realms/{self._name}/protocol/openid-connect/userinfo", access_token)


class Keycloak:
    """A Keycloak process that remembers nothing; as a context manager it is started on entry and stopped on exit.

    It takes half a minute to start and half a GB. It and its files are gone with this process.

    Args:
        archive: its zip, as `distribution` finds it.
        log: file that its output is appended to.
    """

    def __init__(self, archive: Path, *, log: Path) -> None:
        self._archive = archive
        self._log = log
        self._password = secrets.token_urlsafe()
        self._port = 0
        self._session = requests.Session()
        self._session.trust_env = False
        self._running = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """Its address, with the path that all others begin with."""
        return f"http://{ADDRESS}:{self._port}{_PATH}"

    def start(self, timeout: float = 240.0) -> None:
        """Starts it and waits until it answers.

        Args:
            timeout: longest wait in seconds.

        Raises:
            KeycloakError: it ended or did not answer in time; the text has the end of its log.
        """
        deadline = time.monotonic() + timeout
        with contextlib.ExitStack() as started:
            # It writes into its own folder.
            folder = started.enter_context(scratch_folder("keycloak-"))
            with zipfile.ZipFile(self._archive) as archive:
                archive.extractall(folder)
            [self._port] = free_ports([0])
            child = started.enter_context(self._launch(folder))
            while not self._answers():
                if child.poll() is not None or time.monotonic() > deadline:
                    tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
                    raise KeycloakError(f"Keycloak did not start within {timeout:g} s; its log ends:\n{tail}")
                time.sleep(_POLL_SECONDS)
            self._running = started.pop_all()

    def stop(self) -> None:
        """Stops it; what it knew is gone."""
        self._running.close()

    def call(self, method: str, path: str, *, data: Mapping[str, str] | None = None, **more: Any) -> requests.Response:
        """Calls it.

        Raises:
            KeycloakError: it refused.
        """
        answer = self._session.request(method, self.url + path, data=data, timeout=_SECONDS, **more)
        if not answer.ok:
            raise KeycloakError(f"{method} {path}: HTTP {answer.status_code} {answer.text[:500]}")
        return answer

    def admin(self, method: str, path: str, body: Mapping[str, object] | None = None) -> requests.Response:
        """Calls its admin API, below /admin/realms; see `call`."""
        token = self.call(
            "POST",
            "/realms/master/protocol/openid-connect/token",
            data={
                "grant_type": "password",
                "client_id": "admin-cli",
                "username": _ADMIN,
                "password": self._password,
            },
        ).json()["access_token"]
        return self.call(method, f"/admin/realms{path}", json=body, headers={"Authorization": f"Bearer {token}"})

    def accepts(self, path: str, token: str) -> bool:
        """Whether it accepts a token at a path."""
        headers = {"Authorization": f"Bearer {token}"}
        return self._session.get(self.url + path, headers=headers, timeout=_SECONDS).ok

    def _launch(self, folder: Path) -> Child:
        [home] = folder.iterdir()
        command = ["sh", str(home / "bin/kc.sh"), "start-dev", "--db=dev-mem", f"--http-relative-path={_PATH}"]
        return Child(
            [*command, f"--http-host={ADDRESS}", f"--http-port={self._port}"],
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(folder),
                "KC_BOOTSTRAP_ADMIN_USERNAME": _ADMIN,
                "KC_BOOTSTRAP_ADMIN_PASSWORD": self._password,
                "JAVA_OPTS_KC_HEAP": "-Xms128m -Xmx512m",
                # It runs for minutes: what better code saves later, compiling it costs at the start.
                "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
            },
            log=self._log,
        )

    def _answers(self) -> bool:
        try:
            return self._session.get(f"{self.url}/realms/master", timeout=_SECONDS).ok
        except requests.ConnectionError:
            return False

    def __enter__(self) -> Keycloak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
