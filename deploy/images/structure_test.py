from __future__ import annotations

import email.parser
import json
import posixpath
import re
import ssl
import stat
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
from image_files import IMAGES, read

SCHEMAS = Path("../pip_sbom/site-packages/cyclonedx_python_lib/cyclonedx/schema/_res")
# The only programs that the proxy's image may have; whatever else is executable is a library.
PROXY_PROGRAMS = {"usr/bin/python3.11"}
STARTS: dict[str, dict[str, Any]] = {
    "client": {"Entrypoint": ["/usr/local/bin/mm-client"], "Cmd": [], "ExposedPorts": {}},
    "proxy": {
        "Entrypoint": ["/usr/bin/python3.11", "-I", "-m", "triton_proxy"],
        "Cmd": [],
        "ExposedPorts": {"8080/tcp": {}, "50051/tcp": {}},
    },
    "publisher": {"Entrypoint": ["/usr/local/bin/mm-publish"], "Cmd": [], "ExposedPorts": {}},
    "scaler": {
        "Entrypoint": ["/usr/bin/python3.11", "-I", "-m", "scale_service"],
        "Cmd": [],
        "ExposedPorts": {"8000/tcp": {}, "9090/tcp": {}, "50052/tcp": {}},
    },
    "triton_cpu": {
        "Entrypoint": [],
        "Cmd": [
            "tritonserver",
            "--model-repository=/models",
            "--model-control-mode=poll",
            "--repository-poll-secs=30",
            "--disable-auto-complete-config",
        ],
        "ExposedPorts": {"8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}},
    },
}
# What each image holds of ours.
OWN = {
    "client": ["domino-triton-client"],
    "proxy": ["triton_proxy"],
    "publisher": ["domino-triton-client", "domino-triton-publisher"],
    "scaler": ["scale_service"],
    "triton_cpu": [],
}

every_image = pytest.mark.parametrize("name", IMAGES)


def properties(component: dict[str, Any]) -> dict[str, str]:
    return {prop["name"]: prop["value"] for prop in component["properties"]}


@every_image
def test_images_run_as_nobody_with_the_settings_promised(name: str) -> None:
    config = read(name).config
    assert config["User"] == "65532:65532"
    assert {key: config[key] for key in STARTS[name]} == STARTS[name]
    env = dict(item.split("=", 1) for item in config["Env"])
    assert env["HOME"] == "/tmp"  # noqa: S108  the one place that can be written
    assert env["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    assert not any(key.startswith("PYTHON") for key in env)
    prefix = "org.opencontainers.image."
    labels = {key.removeprefix(prefix): value for key, value in config["Labels"].items() if key.startswith(prefix)}
    assert labels.keys() >= {"base.name", "licenses", "title", "version"}
    assert (labels["base.name"], labels["licenses"]) == ("scratch", "Apache-2.0")


@every_image
def test_files_belong_to_root_and_nobody_else_may_change_them(name: str) -> None:
    wrong = []
    for member, _ in read(name).members():
        mode = member.mode
        sticky_folder = member.isdir() and mode & stat.S_ISVTX
        if (member.uid, member.gid, member.mtime) != (0, 0, 0) or not (
            member.isfile() or member.isdir() or member.issym()
        ):
            wrong.append(member.name)
        elif mode & (stat.S_ISUID | stat.S_ISGID) or (mode & 0o022 and not sticky_folder and not member.issym()):
            wrong.append(f"{member.name} {mode:o}")
    assert wrong == []
    sticky = {member.name for member, _ in read(name).members() if member.isdir() and member.mode & stat.S_ISVTX}
    assert sticky == {"tmp", "var/tmp"}


@every_image
def test_no_compiled_python_and_nothing_removed_or_broken(name: str) -> None:
    entries = {member.name: member for member, _ in read(name).members()}
    assert [path for path in entries if path.endswith((".pyc", ".pyo")) or "/__pycache__" in path] == []
    assert [path for path in entries if posixpath.basename(path).startswith(".wh.")] == []
    merged = {path: member.linkname for path, member in entries.items() if member.issym() and "/" not in path}
    assert merged == {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
    broken = []
    for path, member in entries.items():
        if member.issym():
            target = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), member.linkname))[1:]
            target = re.sub(r"^(bin|sbin|lib|lib64)(?=/)", r"usr/\1", target)
            if target not in entries:
                broken.append(f"{path} -> {member.linkname}")
    assert [link for link in broken if not link.startswith(("usr/share/doc/", "var/"))] == []


def test_the_proxy_has_neither_shell_nor_package_manager() -> None:
    programs = set()
    for member, content in read("proxy").members():
        is_library = content.startswith(b"\x7fELF") and re.search(r"\.so(\.[0-9.]+)?$", member.name)
        if member.isfile() and (content.startswith(b"#!/") or member.mode & 0o111) and not is_library:
            programs.add(member.name)
    # Modules of Python that can also be run by themselves are not programs: nothing of theirs is on the path.
    modules = {path for path in programs if path.endswith(".py") and "/python3.11/" in path}
    assert programs - modules == PROXY_PROGRAMS
    paths = {member.name for member, _ in read("proxy").members()}
    assert not any(re.search(r"/(pip|setuptools|ensurepip)/", path) for path in paths)


@every_image
def test_images_hold_the_usual_authorities(name: str) -> None:
    (bundle,) = [
        content for member, content in read(name).members() if member.name == "etc/ssl/certs/ca-certificates.crt"
    ]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=bundle.decode())
    assert context.cert_store_stats()["x509_ca"] > 100


def test_the_proxy_is_as_small_as_promised() -> None:
    assert read("proxy").size <= 180 * 10**6


def test_images_share_their_lowest_layer() -> None:
    assert len({read(name).layer_digests[0] for name in IMAGES}) == 1


@every_image
def test_the_bill_is_valid_cyclonedx(name: str) -> None:
    files = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.schema.json")]
    registry = referencing.Registry().with_resources(
        (schema["$id"], referencing.Resource.from_contents(schema)) for schema in files
    )
    (schema,) = [schema for schema in files if schema["$id"].endswith("bom-1.6.schema.json")]
    validator = jsonschema.Draft7Validator(schema, registry=registry)
    bill = read(name).bill
    assert [error.message for error in validator.iter_errors(bill)] == []
    # The schema does refuse what it should.
    assert not validator.is_valid({**bill, "components": [{"name": "no type"}]})


@every_image
def test_the_bill_lists_what_is_in_the_image(name: str) -> None:
    image = read(name)
    parse = email.parser.Parser().parsestr
    debian, python = set(), set()
    for member, content in image.members():
        if member.name.startswith("var/lib/dpkg/status.d/") and member.isfile():
            control = parse(content.decode(), headersonly=True)
            debian.add((control["Package"], control["Version"]))
        if re.search(r"\.dist-info/METADATA$", member.name):
            metadata = parse(content.decode(), headersonly=True)
            python.add((re.sub(r"[-_.]+", "-", metadata["Name"]).lower(), metadata["Version"]))
    listed = image.bill["components"]
    assert {(c["name"], c["version"]) for c in listed if c["purl"].startswith("pkg:deb/")} == debian
    assert {(c["name"], c["version"]) for c in listed if c["purl"].startswith("pkg:pypi/")} == python
    assert ("libc6" in {package for package, _ in debian}, len(python) > 0) == (True, True)
    for component in listed:
        if component["type"] == "library":
            (digest,) = component["hashes"]
            assert re.fullmatch("[0-9a-f]{64}", digest["content"]), component["name"]
    subject = image.bill["metadata"]["component"]
    assert subject["purl"].endswith(image.digest.replace(":", "%3A"))
    assert subject["version"] == image.config["Labels"]["org.opencontainers.image.version"]
    # Little is in the image that no component accounts for.
    assert sum(int(properties(c)["multimodal:size_bytes"]) for c in listed) > 0.9 * image.size


@every_image
def test_our_own_version_is_the_images(name: str) -> None:
    own = {c["name"]: c["version"] for c in read(name).bill["components"] if c["name"] in OWN[name]}
    version = read(name).config["Labels"]["org.opencontainers.image.version"]
    assert own == dict.fromkeys(OWN[name], version)
