"""Pages in a browser: which hosts and origins are served, and what a browser may do with a response."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import httpx
import pytest
import trio

from autobatcher.emulator import Emulator
from autobatcher.emulator.app import create_app as create_emulator_app
from autobatcher.server import ServedHosts, served_hosts
from autobatcher.server.authority import Authority, parse_authority
from autobatcher.server.hosts import OnlyServedHosts, asked_of, why_refused
from tests.server.proxies import open_proxy

LIMIT = 20
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
LOOPBACK = served_hosts("127.0.0.1", is_loopback=True)
NAMED = served_hosts("0.0.0.0", is_loopback=False, allowed_hosts=["Proxy.Example.", "fd00::7"])
OPEN = served_hosts("0.0.0.0", is_loopback=False)


def status(
    served: ServedHosts, *hosts: str, path: str = "/status", at: str = "127.0.0.1", **headers: str
) -> int | None:
    """The status of the refusal; None if the request is served."""
    named = [(b"host", host.encode()) for host in hosts]
    others = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"method": "POST", "path": path, "headers": named + others, "server": (at, 8080)}
    refused = why_refused(asked_of(scope), served)
    return None if refused is None else refused.status_code


@pytest.mark.parametrize(
    ("spelling", "parsed"),
    [
        ("localhost", Authority("localhost", None)),
        ("LocalHost.:8080", Authority("localhost", 8080)),
        ("my_service-1:1", Authority("my_service-1", 1)),
        ("[0:0:0:0:0:0:0:1]:65535", Authority("::1", 65535)),
        ("[::FFFF:127.0.0.1]", Authority("127.0.0.1", None)),
        *(
            (odd, None)
            for odd in (
                *("", ":80", "localhost:0", "localhost:65536", "localhost:-1", "localhost:8o", "localhost:"),
                *("localhost..", "a@localhost", "localhost/x", "local host", "localhost,evil", "::1", "[::1"),
                *("[::1%25eth0]", "[fe80::1%eth0]", "[127.0.0.1]"),
                *("[]", "löcalhost", "\u212aey", "localhost\n", "-x", ".localhost", "a" * 300),
            )
        ),
    ],
)  # fmt: skip
def test_a_host_has_one_spelling_and_what_is_none_is_nothing(spelling: str, parsed: Authority | None) -> None:
    assert parse_authority(spelling) == parsed


@pytest.mark.proves("faults", "a page in a browser uses the proxy, by DNS rebinding or from another origin")
def test_on_loopback_only_this_machines_names_are_served_and_those_that_were_given() -> None:
    for host in ("localhost", "LOCALHOST.:1", "127.0.0.1:8080", "[::1]:8080"):
        assert status(LOOPBACK, host) is None, host
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0:8080", "127.1", "10.0.0.7"):
        assert status(LOOPBACK, host) == 403, host
        assert status(LOOPBACK, host, path="/health") == 403, host
    assert status(LOOPBACK) == status(LOOPBACK, "") == 403
    given = served_hosts("127.0.0.2", is_loopback=True, allowed_hosts=["proxy.example"])
    assert [status(given, host) for host in ("proxy.example:99", "127.0.0.2", "localhost")] == [None, None, None]
    assert status(given, "other.example") == 403


def test_elsewhere_the_names_that_were_given_decide_or_else_the_key() -> None:
    for host in ("proxy.example", "localhost:8080", "[fd00:0::7]"):
        assert status(NAMED, host) is None, host
    assert status(NAMED, "10.0.0.7", at="10.0.0.7") is None
    assert status(NAMED, "10.0.0.7", at="::ffff:10.0.0.7") is None
    for host in ("evil.example", "10.0.0.8"):
        assert status(NAMED, host, at="10.0.0.7") == 403, host
    assert status(OPEN, "evil.example") is None
    assert status(OPEN) is None


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_a_probe_asks_by_the_address_of_a_pod_or_without_a_host(path: str) -> None:
    assert status(NAMED, "10.0.0.7:8080", path=path) is None
    assert status(NAMED, path=path) is None
    assert status(NAMED, "evil.example", path=path) == 403


@pytest.mark.parametrize("served", [LOOPBACK, NAMED, OPEN])
def test_a_host_that_is_none_or_two_of_them_are_refused_everywhere(served: ServedHosts) -> None:
    assert status(served, "localhost", "localhost") == 400
    assert status(served, "user@localhost") == 400
    assert status(served, "localhost:0", path="/health") == 400


@pytest.mark.proves("faults", "a page in a browser uses the proxy, by DNS rebinding or from another origin")
def test_only_pages_of_the_same_origin_and_allowed_ones_are_served() -> None:
    for origin in ("http://localhost:8080", "HTTP://LOCALHOST.:8080", "https://localhost:8080"):
        assert status(LOOPBACK, "localhost:8080", origin=origin) is None, origin
    for origin in (
        "http://localhost:3000",
        "http://127.0.0.1:8080",
        "null",
        "file://",
        "",
        "evil",
        "ftp://localhost:8080",
    ):
        assert status(LOOPBACK, "localhost:8080", origin=origin) == 403, origin
    assert status(OPEN, "proxy.example", origin="https://proxy.example") is None  # a reverse proxy took TLS off
    allowing = served_hosts(
        "127.0.0.1", is_loopback=True, cors_origins=["HTTPS://App.example:444", "tauri://localhost"]
    )
    for origin in ("https://app.example:444", "tauri://localhost"):
        assert status(allowing, "localhost", origin=origin) is None
    for origin in ("https://app.example", "http://app.example:444", "null", "https://app.example:444, https://x"):
        assert status(allowing, "localhost", origin=origin) == 403


def test_what_a_foreign_page_loads_without_an_origin_is_refused_unless_the_reader_goes_there() -> None:
    for site in ("cross-site", "same-site"):
        assert status(LOOPBACK, "localhost", sec_fetch_site=site, sec_fetch_mode="no-cors") == 403
        assert status(LOOPBACK, "localhost", sec_fetch_site=site, sec_fetch_mode="navigate") is None
    for site in ("none", "same-origin"):
        assert status(LOOPBACK, "localhost", sec_fetch_site=site) is None
    assert status(LOOPBACK, "localhost", sec_fetch_mode="cors") is None  # Node's fetch


@pytest.mark.parametrize(
    "given",
    [
        *({"allowed_hosts": [host]} for host in ("http://x", "x:80", "*", "", "a b", "[::1]:80", "x/y")),
        *({"cors_origins": [origin]} for origin in ("x.example", "https://", "https://x/", "null", "https://*.x", "")),
    ],
)  # fmt: skip
def test_what_is_no_host_and_no_origin_is_told_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is no (name|origin)"):
        served_hosts("127.0.0.1", is_loopback=True, **given)


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
class TestThroughTheDoor:
    @pytest.mark.proves("faults", "a page in a browser uses the proxy, by DNS rebinding or from another origin")
    async def test_a_page_reads_nothing_spends_nothing_and_an_honest_caller_is_told_what_to_do(self) -> None:
        rebinding = {"host": "evil.example:8080", "origin": "http://evil.example:8080"}
        foreign = {"origin": "https://evil.example", "content-type": "text/plain"}
        with trio.fail_after(LIMIT):
            async with open_proxy(app={"hosts": LOOPBACK}) as proxy, proxy.http() as http:
                for headers, flag in (
                    (rebinding, "--allowed-host evil.example"),
                    (foreign, "--cors-origin https://ev"),
                ):
                    for path in ("/status", "/", "/v1/models", "/health", "/nowhere"):
                        refused = await http.get(path, headers=headers)
                        assert refused.status_code == 403
                        assert flag in refused.json()["error"]["message"]
                        assert "access-control-allow-origin" not in refused.headers
                    refused = await http.post("/v1/chat/completions", json=CHAT, headers=headers)
                    assert refused.status_code == 403
                    preflight = {"access-control-request-method": "POST", **headers}
                    assert (await http.options("/v1/chat/completions", headers=preflight)).status_code == 403
                assert (await http.get("/status")).json()["requests"] == 0
                assert proxy.harness.emulator.statistics().http_calls == {}
                own = {"origin": proxy.url, "sec-fetch-site": "same-origin"}
                assert (await http.get("/status", headers=own)).status_code == 200
                async with proxy.http(http1=False, http2=True) as http2:
                    assert (await http2.get("/status", headers={"host": "evil.example"})).status_code == 403
                    assert (await http2.get("/status")).status_code == 200

    async def test_an_allowed_page_gets_cors_and_no_credentials_with_errors_too(self) -> None:
        hosts = served_hosts("127.0.0.1", is_loopback=True, cors_origins=["https://app.example"])
        page = {"origin": "https://app.example"}
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-a"}
        with trio.fail_after(LIMIT):
            async with open_proxy(app={"hosts": hosts, "proxy_key": "sesame"}) as proxy, proxy.http() as http:
                preflight = await http.options("/v1/chat/completions", headers={**page, **asks})
                assert preflight.status_code == 200
                assert preflight.headers["access-control-allow-headers"] == "authorization,x-a"
                assert "POST" in preflight.headers["access-control-allow-methods"]
                refused = await http.post("/v1/chat/completions", json=CHAT, headers=page)
                assert refused.status_code == 401
                right = {**page, "authorization": "Bearer sesame"}
                answer = await http.post("/v1/chat/completions", json=CHAT, headers=right)
                assert answer.status_code == 200
                for response in (preflight, refused, answer):
                    assert response.headers["access-control-allow-origin"] == "https://app.example"
                    assert response.headers["vary"] == "origin"
                    assert "access-control-allow-credentials" not in response.headers
                assert "access-control-allow-origin" not in (await http.get("/status")).headers

    async def test_every_page_may_be_allowed(self) -> None:
        hosts = served_hosts("127.0.0.1", is_loopback=True, cors_origins=["*"])
        with trio.fail_after(LIMIT):
            async with open_proxy(app={"hosts": hosts}) as proxy, proxy.http() as http:
                for origin in ("null", "https://any.example"):
                    answer = await http.get("/status", headers={"origin": origin})
                    assert answer.headers["access-control-allow-origin"] == "*"
                    assert "access-control-allow-credentials" not in answer.headers
                assert (await http.get("/status", headers={"host": "evil.example"})).status_code == 403

    async def test_no_response_can_run_script_nor_be_framed(self) -> None:
        with trio.fail_after(LIMIT):
            async with open_proxy() as proxy, proxy.http() as http:
                page = await http.get("/")
                paths = ("/status", "/v1/models", "/health", "/metrics", "/nowhere", "/v1/models/..%2f")
                responses = [page, *[await http.get(path) for path in paths]]
                responses.append(await http.post("/v1/chat/completions", json=CHAT))
                responses.append(await http.get("/status", headers={"host": "evil.example"}))
        for response in responses:
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["x-frame-options"] == "DENY"
            assert response.headers["referrer-policy"] == "no-referrer"
            policy = response.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
            assert "unsafe" not in policy
            assert ("script-src" in policy) == (response is page)
        (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in page.headers["content-security-policy"]
        assert not re.search(r"<[^>]* (on\w+|style)=", page.text)

    async def test_the_emulators_app_is_wrapped_too(self) -> None:
        with Emulator() as emulator:
            app: Any = create_emulator_app(emulator, lambda inner: OnlyServedHosts(inner, LOOPBACK, "emulator"))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
                assert (await http.get("/v1/models")).headers["x-content-type-options"] == "nosniff"
                refused = await http.get("/v1/models", headers={"host": "evil.example"})
                assert refused.status_code == 403
                assert "This emulator" in refused.json()["error"]["message"]
