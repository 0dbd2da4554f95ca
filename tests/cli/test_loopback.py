"""Behind a company's HTTP proxy: what stays on this machine does not go there."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from autobatcher.cli.loopback import without_proxy
from tests.cli.processes import emulator, find_url, read_until, run, started
from tests.cli.test_run import ASK
from tests.cli.test_serve import CHAT, QUICK


@contextmanager
def company_proxy() -> Iterator[tuple[dict[str, str], list[str]]]:
    """The variables that name it, and the URLs that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def parse_request(self) -> bool:
            asked.append(str(self.client_address))
            return False

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
        variables = dict.fromkeys(names, f"http://127.0.0.1:{server.server_port}")
        yield {**variables, "NO_PROXY": "", "no_proxy": "intranet.example"}, asked
        server.shutdown()


@pytest.mark.proves("faults", "HTTP_PROXY is set, and NO_PROXY does not name this machine")
def test_the_command_of_run_asks_its_own_proxy_directly() -> None:
    script = f"import os; assert os.environ['no_proxy'].startswith('intranet.example,')\n{ASK}"
    with emulator() as upstream, company_proxy() as (variables, asked):
        done = run(
            *("run", "--base-url", upstream, "--api-key", "k", *QUICK, "--", sys.executable, "-c", script, "hello"),
            **variables,
        )
    assert done.returncode == 0, done.stderr
    assert asked == []


@pytest.mark.proves("faults", "HTTP_PROXY is set, and NO_PROXY does not name this machine")
def test_an_upstream_on_this_machine_is_asked_directly() -> None:
    with emulator() as upstream, company_proxy() as (variables, asked):
        flags = ("--base-url", upstream, "--api-key", "k")
        with started("serve", "--port", "0", *flags, *QUICK, **variables) as process:
            url = find_url(read_until(process, "stderr", "/v1 ->"))
            assert httpx.post(f"{url}/chat/completions", json=CHAT, timeout=30, trust_env=False).status_code == 200
        assert run("status", "--upstream", *flags, **variables).returncode == 0
        demo = run("demo", *flags, "--model", "m", "--batch-window", "0.2", "--poll-interval", "0.1", **variables)
        assert demo.returncode == 0, demo.stderr
    assert asked == []


@pytest.mark.proves("faults", "HTTP_PROXY is set, and NO_PROXY does not name this machine")
@pytest.mark.full_price
def test_a_server_that_the_emulator_forwards_to_is_asked_directly() -> None:
    with (
        emulator() as behind,
        company_proxy() as (variables, asked),
        started("emulate", "--forward-to", behind, **variables) as process,
    ):
        url = find_url(read_until(process, "stdout", "OPENAI_API_KEY"))
        assert httpx.post(f"{url}/chat/completions", json=CHAT, timeout=30, trust_env=False).status_code == 200
    assert asked == []


def test_hosts_are_added_to_both_spellings() -> None:
    both = {"NO_PROXY": "a, b", "no_proxy": "b,c"}
    assert without_proxy(both, "127.0.0.1") == dict.fromkeys(("NO_PROXY", "no_proxy"), "a,b,c,127.0.0.1")
    assert without_proxy({}, "::1") == dict.fromkeys(("NO_PROXY", "no_proxy"), "::1")
