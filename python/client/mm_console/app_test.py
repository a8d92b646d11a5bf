"""Which callers get in, what they may send, and that pages work below a prefix."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from client_testing.pages import ModelsServer, Visit, shown
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from mm_console.app import create_app
from mm_console.results import Results

PAGES = ("/", "/models", "/model?name=pair", "/try?model=pair", "/operations", "/confirm", "/file", "/sample?name=a")
SCRIPT = {"x-requested-with": "console"}
ACTIONS = ("/try", "/stream", "/scale", "/restart")


class Links(HTMLParser):
    """The addresses in a page, and what would be a script or a style of its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "action", "data-stream", "data-refresh") and value:
                self.addresses.append(value)
            if name.startswith("on") or name == "style":
                self.inline.append(name)
        if tag == "style" or (tag == "script" and "src" not in dict(attrs)):
            self.inline.append(tag)


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_sees_no_page(stranger: Visit, page: str) -> None:
    for given in ({}, {"cookie": f"{stranger.access.cookie}=s3cret-guess"}):
        answer = stranger.http.get(page, headers=given)
        assert answer.status_code == 403
        assert shown(answer.text).endswith(
            "It did not work This browser has not been let in. Expected A visit with the key that the console printed "
            "when it started. What to do Open the address that mm-client console printed, with ?key=… at its end."
        )


@pytest.mark.parametrize("action", ACTIONS)
def test_a_stranger_may_send_nothing(stranger: Visit, models_server: ModelsServer, action: str) -> None:
    before = list(models_server.asked)
    assert stranger.post(action, {"model": "pair"}).status_code == 403
    assert models_server.asked == before


@pytest.mark.parametrize("key", ["s3cret-guess", "", "\N{SNOWMAN}"])
def test_a_wrong_key_opens_nothing(stranger: Visit, key: str) -> None:
    answer = stranger.http.get("/", params={"key": key}, follow_redirects=False)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_key_opens_it_once_and_leaves_the_address(stranger: Visit) -> None:
    answer = stranger.http.get("/", params={"key": stranger.access.key}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{stranger.access.cookie}=")
    # Without a path: browsers send it below the prefix that they see, not to other apps of the same host.
    assert cookie.split("; ")[1:] == ["HttpOnly", "SameSite=lax"]
    assert stranger.access.key not in cookie
    assert stranger.http.get("/models").status_code == 200


@pytest.mark.usefixtures("credential")
def test_behind_domino_its_proxy_says_who_it_is(models_server: ModelsServer, tmp_path: Path) -> None:
    visit = Visit(models_server.addr, tmp_path, viewers=("ada", "Anonymous"))
    assert visit.http.get("/models", headers={"domino-username": "ada"}).status_code == 200
    for name in (None, "eve", "Anonymous", "", "Ada"):
        answer = visit.http.get("/models", headers={} if name is None else {"domino-username": name})
        assert answer.status_code == 403
        assert "You may not open this console." in answer.text
    twice = [("domino-username", "ada"), ("domino-username", "eve")]
    assert visit.http.get("/models", headers=twice).status_code == 403
    assert visit.http.get("/?key=", headers={"domino-username": "eve"}).status_code == 403
    visit.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
@pytest.mark.parametrize("action", ACTIONS)
def test_another_site_may_send_nothing(visit: Visit, action: str, headers: dict[str, str]) -> None:
    answer = visit.post(action, {"model": "pair"}, headers=headers)
    assert answer.status_code == 403
    assert "The request does not come from a page of this console." in answer.text


@pytest.mark.parametrize("action", ACTIONS)
def test_a_form_without_its_token_is_refused(visit: Visit, models_server: ModelsServer, action: str) -> None:
    before = list(models_server.asked)
    for token in ("", "s3cret-guess"):
        answer = visit.http.post(action, data={"model": "pair", "form_token": token}, files={"n": ("", b"")})
        assert answer.status_code == 403
    assert models_server.asked == before


def test_the_consoles_own_pages_may_send(visit: Visit) -> None:
    for headers in ({"sec-fetch-site": "same-origin"}, {"origin": "http://testserver"}, {}):
        assert visit.post("/try", {"model": "pair", "kind": "arrays"}, headers=headers).status_code == 200
    forwarded = {"origin": "https://domino.example", "x-forwarded-host": "domino.example"}
    assert visit.post("/try", {"model": "pair", "kind": "arrays"}, headers=forwarded).status_code == 200


@pytest.mark.usefixtures("credential")
def test_a_large_upload_is_refused_before_it_is_read(models_server: ModelsServer, tmp_path: Path) -> None:
    visit = Visit(models_server.addr, tmp_path, max_upload_mb=1).enter()
    answer = visit.post("/try", {"model": "pair"}, {"file": ("large.png", bytes(1 << 20))}, headers=SCRIPT)
    assert answer.status_code == 413
    assert answer.json()["problem"] == {
        "wrong": "The upload has 1.0 MiB.",
        "expected": "At most 1 MiB.",
        "advice": "Send a smaller or shorter file, or start the console with --max-upload-mb "
        "(MM_CONSOLE_MAX_UPLOAD_MB).",
    }
    assert not list(visit.console.uploads.iterdir())
    kind = {"content-type": "multipart/form-data; boundary=a"}
    unmeasured = visit.http.post("/try", content=iter([b"a"]), headers=kind)
    assert unmeasured.status_code == 411
    visit.close()


def test_what_is_no_form_is_refused(visit: Visit) -> None:
    answer = visit.http.post("/try", content=b"--", headers={"content-type": "multipart/form-data"})
    assert answer.status_code in (400, 403)
    assert 'class="problem"' in answer.text


@pytest.mark.parametrize("page", ["/models", "/model?name=pair", "/try?model=detects", "/operations", "/no-such-page"])
def test_browsers_are_told_to_load_nothing_from_elsewhere(visit: Visit, page: str) -> None:
    answer = visit.http.get(page)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert (policy["form-action"], policy["frame-ancestors"], policy["base-uri"]) == ("'self'", "'self'", "'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    links = Links(answer.text)
    assert links.inline == []
    assert links.addresses
    for address in links.addresses:
        assert re.match(r"[a-z.#]", address), address
        assert "//" not in address
        assert "/" not in address.partition("?")[0]


def test_all_pages_work_below_a_prefix(visit: Visit) -> None:
    below = TestClient(Starlette(routes=[Mount("/u/p/proxy/8888", create_app(visit.console))]))
    below.cookies = visit.http.cookies
    seen, waiting = set(), ["http://testserver/u/p/proxy/8888/models"]
    while waiting:
        address = waiting.pop()
        answer = below.get(address)
        assert answer.status_code == 200, address
        seen.add(address)
        if "text/html" in answer.headers["content-type"]:
            links = (html.unescape(each).partition("#")[0] for each in Links(answer.text).addresses)
            found = {str(answer.url.join(each)) for each in links if each not in ("stream", "try")}
            waiting += sorted(found - seen - set(waiting))
    assert "http://testserver/u/p/proxy/8888/console.css" in seen
    assert all(address.startswith("http://testserver/u/p/proxy/8888/") for address in seen)


def test_a_prefix_that_is_left_in_the_path_is_known(visit: Visit) -> None:
    kept = TestClient(create_app(visit.console), root_path="/apps/console")
    kept.cookies = visit.http.cookies
    assert kept.get("/apps/console/models").status_code == 200
    assert kept.get("/models").status_code == 200


def test_only_the_latest_results_are_kept(tmp_path: Path) -> None:
    results = Results(tmp_path, kept=2)
    made = [results.new() for _ in range(3)]
    addresses = [result.write("a.txt", b"a") for result in made[1:]]
    assert addresses[0] == f"file?result={made[1].name}&name=a.txt"
    assert {folder.name for folder in tmp_path.iterdir()} == {each.name for each in made[1:]}


@pytest.mark.parametrize("name", ["../results", "..", "", "a.txt\0", "/etc/passwd", "b.txt"])
def test_no_other_file_is_given_out(visit: Visit, name: str) -> None:
    result = visit.console.results.new()
    result.write("a.txt", b"<b>")
    good = visit.http.get("/file", params={"result": result.name, "name": "a.txt"})
    assert (good.text, good.headers["content-disposition"]) == ("<b>", 'attachment; filename="a.txt"')
    for folder, file in ((result.name, name), ("..", "a.txt"), ("", "a.txt")):
        answer = visit.http.get("/file", params={"result": folder, "name": file})
        assert answer.status_code == 404
        assert "There is no such file." in answer.text


def test_a_page_that_is_not_there_says_so(visit: Visit) -> None:
    answer = visit.http.get("/nothing")
    assert answer.status_code == 404
    assert "There is no such page. Expected An address of this console." in shown(answer.text)
    assert visit.http.delete("/models").status_code == 405


def test_health_needs_no_key(stranger: Visit) -> None:
    assert (stranger.http.get("/healthz").status_code, stranger.http.get("/healthz").text) == (200, "ok")
