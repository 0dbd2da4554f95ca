"""Canaries through the command line: `run`, `serve`, `emulate`, and every command on a journal."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio

from autobatcher.cli import main
from autobatcher.emulator import Emulator, FaultPlan, LineFault
from autobatcher.emulator.app import serve_emulator
from autobatcher.emulator.wire import Reply, Request
from tests.cli.processes import find_url, read_until, started

from .canaries import KEY, PASSWORD, PROMPT, PROXY_KEY, Exits, echo

pytestmark = pytest.mark.real_time

QUICK = ("--batch-window", "0.1", "--poll-interval", "0.1", "--log-level", "debug")
CHILD = """
import json, os, sys, urllib.error, urllib.request
print(json.dumps(dict(os.environ)))
for text in sys.argv[1:]:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    headers = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"}
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    try:
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)).read()
    except urllib.error.HTTPError as error:
        print(error.headers, error.read())
sys.exit(3)
"""
"""A command of `run` that shows what it is given, makes calls, and fails, so that the journal keeps its answers."""


class QuotingServer:
    """An emulator that quotes beside every answer; once it `refuses`, it does nothing else."""

    def __init__(self, emulator: Emulator, quoted: str) -> None:
        self.run = emulator.run
        self.refuses = False
        self._emulator = emulator
        self._quoted = quoted

    async def handle(self, request: Request) -> Reply:
        headers = {"x-request-id": self._quoted}
        if self.refuses:
            return Reply(403, headers, f'{{"error": {{"message": "{self._quoted}"}}}}'.encode())
        reply = await self._emulator.handle(request)
        assert isinstance(reply.body, bytes) or request.method == "GET"
        body = reply.body if isinstance(reply.body, bytes) else b"".join([chunk async for chunk in reply.body])
        quoted = re.sub(rb'("request_id": ?")', lambda found: found[0] + self._quoted.encode(), body)
        return replace(reply, headers={**reply.headers, **headers}, body=quoted)


@contextmanager
def serving(server: Any) -> Iterator[str]:
    """The base URL of an emulator that a thread serves: cheaper than a process."""
    started_at, stops, url = threading.Event(), [], ""

    async def serve() -> None:
        nonlocal url
        stop, token = trio.Event(), trio.lowlevel.current_trio_token()
        stops.append(partial(token.run_sync_soon, stop.set))
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(serve_emulator, server, shutdown_trigger=stop.wait))
            started_at.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert started_at.wait(20)
        yield f"{url}/v1"
    finally:
        for stop in stops:
            stop()
        thread.join(20)


@pytest.fixture
def server() -> Iterator[QuotingServer]:
    quoted = echo(KEY)
    said = f'{{"error": {{"message": "{quoted}"}}}}'
    plan = FaultPlan((LineFault(kind="fail", status=400, body=said, containing="bad"),))
    with Emulator(faults=plan) as emulator:
        yield QuotingServer(emulator, quoted)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return written(tmp_path / "key", KEY + "\n")


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_no_command_lets_a_key_out_or_gives_one_away(
    server: QuotingServer,
    key_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    exits = Exits()
    folder = tmp_path / "journal"
    folder.mkdir()
    journal, record = folder / "journal.sqlite3", tmp_path / "events.jsonl"
    monkeypatch.setenv("AUTOBATCHER_PROXY_KEY", PROXY_KEY)
    monkeypatch.setenv("AUTOBATCHER_API_KEY_FILE", str(key_file))
    for name, value in {"DOUBLEWORD_API_KEY": KEY, "UPSTREAM_HEADER": f"Bearer {KEY}", "KEPT": "kept"}.items():
        monkeypatch.setenv(name, value)

    def command(name: str, *arguments: str, prompts: bool = False) -> int:
        code = main([name, "--journal", str(journal), *arguments])
        told = capfd.readouterr()
        exits.add(name, told.out + told.err, may_quote_prompts=prompts)
        return code

    with serving(server) as url:
        upstream = ("--base-url", url)
        child = (sys.executable, "-c", CHILD, PROMPT, f"bad {PROMPT}")
        receipts = [tmp_path / "receipt.json", tmp_path / "summary.md"]
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(receipts[1]))
        kept = ("--events", str(record), "--journal", str(journal), "--receipt", str(receipts[0]))
        assert main(["run", *upstream, *QUICK, *kept, "--", *child]) == 3
        told = capfd.readouterr()
        given = json.loads(told.out.splitlines()[0])
        exits.add("run", told.out + told.err)
        exits.add("events of run", record.read_text())
        exits.add("receipt of run", receipts[0].read_text())
        exits.add("summary of run", receipts[1].read_text())
        assert given["KEPT"] == "kept"
        assert not {"DOUBLEWORD_API_KEY", "UPSTREAM_HEADER"} & given.keys()
        assert not [name for name in given if re.match("AUTOBATCHER_.*KEY", name)]
        for server.refuses in (False, True):
            assert main(["check", *upstream, "--json"]) in (0, 1)
            told = capfd.readouterr()
            exits.add("check", told.out + told.err)
            if server.refuses:
                assert main(["run", *upstream, "--", "true"]) == 2
                exits.add("run, refused", capfd.readouterr().err)
            command("status")
            command("status", "--upstream", *upstream)
            command("status", "--upstream", "--json", *upstream)
            command("watch", "--json", *upstream)
            command("results", prompts=True)
            command("results", "--json", prompts=True)
            command("cancel", "--all", *upstream)
            command("cancel", "batch_unknown", "--json", *upstream)
            command("reconcile", *upstream)
            command("reconcile", "--json", *upstream)
            for flags in ((), ("--by", "day"), ("--json",), ("--markdown",)):
                command("receipt", *flags)
        exits.add_files(folder)
        command("forget", "--all", "--force", "--json")
        exits.add_files(folder)
    exits.check(KEY, PROXY_KEY)


def test_serve_takes_its_keys_from_files_and_tells_them_to_nobody(
    server: QuotingServer, key_file: Path, tmp_path: Path
) -> None:
    exits = Exits()
    proxy_key_file = written(tmp_path / "proxy-key", PROXY_KEY)
    with (
        serving(server) as url,
        started(
            *("serve", "--port", "0", "--base-url", url, *QUICK),
            *("--api-key-file", str(key_file), "--proxy-key-file", str(proxy_key_file)),
        ) as process,
    ):
        said = read_until(process, "stderr", "/v1 ->")
        proxy = find_url(said)
        if sys.platform == "linux":
            exits.add("ps", Path(f"/proc/{process.pid}/cmdline").read_bytes())
        bearer = {"authorization": f"Bearer {PROXY_KEY}"}
        body = {"model": "m", "messages": [{"role": "user", "content": f"bad {PROMPT}"}]}
        refused = httpx.post(f"{proxy}/chat/completions", json=body, headers=bearer, timeout=20)
        assert refused.status_code == 400
        exits.add_response("serve", refused)
        exits.add_response("serve, another key", httpx.get(f"{proxy}/models", headers={"authorization": "Bearer x"}))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        exits.add("stdout and stderr of serve", said + out + err)
    exits.check(KEY, PROXY_KEY)


def test_the_emulator_shows_no_key_of_its_own_nor_of_the_server_behind_it(
    server: QuotingServer, key_file: Path, tmp_path: Path
) -> None:
    exits = Exits()
    own = written(tmp_path / "own", PROXY_KEY)
    server.refuses = True
    with (
        serving(server) as url,
        started(
            "emulate", "--forward-to", url, "--forward-key-file", str(key_file), "--api-key-file", str(own)
        ) as process,
    ):
        said = read_until(process, "stdout", "OPENAI_API_KEY")
        emulated = find_url(said)
        bearer = {"authorization": f"Bearer {PROXY_KEY}"}
        exits.add_response("another key", httpx.get(f"{emulated}/models", headers={"authorization": "Bearer other"}))
        exits.add_response("forwarded", httpx.get(f"{emulated}/models", headers=bearer))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        exits.add("stdout and stderr of emulate", said + out + err)
    exits.check(KEY, PROXY_KEY)


# ---- wrong usage ----


@pytest.mark.parametrize("variable", [False, True], ids=["flag", "environment"])
@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_password_in_a_url_is_refused_and_not_shown(
    scheme: str, variable: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    exits = Exits()
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        url = f"{scheme}://user:{secret}@upstream.test/v1?api-key={secret}"
        given = () if variable else ("--base-url", url)
        monkeypatch.setenv("OPENAI_BASE_URL", url if variable else "")
        for command in (["serve"], ["run"], ["status", "--upstream"], ["cancel", "batch_1"], ["demo", "--model", "m"]):
            if command == ["demo", "--model", "m"] and variable:
                continue
            ending = ["--", "true"] if command == ["run"] else []
            assert main([*command, "--api-key", "k", *given, *ending]) == 2, command
        if not variable:
            assert main(["emulate", "--forward-to", url]) == 2
        told = capfd.readouterr()
        assert "user and password" in told.err
        exits.add("usage", told.out + told.err)
    exits.check(PASSWORD, PASSWORD.partition("/")[2])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot read"),
        ("", "is empty"),
        (" \n", "is empty"),
        (f"{KEY}\n{KEY}\n", "more than a key"),
        (f"{KEY}\N{SNOWMAN}", "more than a key"),
        ("k" * 70_000, ""),
    ],
)
def test_a_file_that_is_no_key_is_refused_with_its_name(
    text: str | None, reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "key"
    if text is not None:
        written(path, text)
    assert main(["status", "--upstream", "--base-url", "http://127.0.0.1:1/v1", "--api-key-file", str(path)]) in (1, 2)
    error = capfd.readouterr().err
    assert reason in error
    assert (str(path) in error) == bool(reason)
    assert "canary" not in error


def test_a_key_and_a_file_with_one_exclude_each_other(key_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--upstream", "--api-key", KEY, "--api-key-file", str(key_file)]) == 2
    error = capfd.readouterr().err
    assert "exclude each other" in error
    assert KEY not in error


def test_a_key_of_a_wrong_type_in_a_configuration_file_is_not_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path / "config.toml", f'api-key = ["{KEY}"]')
    assert main(["serve", "--config", str(config)]) == 2
    error = capfd.readouterr().err
    assert "api-key must be a text, not list" in error
    assert KEY not in error


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
def test_a_key_file_that_others_may_read_is_warned_about(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for mode, is_shared in ((0o600, False), (0o400, False), (0o640, True), (0o604, True)):
        path = written(tmp_path / f"{mode:o}", KEY, mode)
        main(["status", "--upstream", "--base-url", "http://127.0.0.1:1/v1", "--api-key-file", str(path)])
        assert ("can be read by other users: chmod 600" in capfd.readouterr().err) == is_shared


def test_what_holds_keys_of_the_command_line_shows_none() -> None:
    from autobatcher.cli.proxy_flags import ProxyFlags
    from autobatcher.cli.serve import Door
    from autobatcher.cli.upstream_flags import UpstreamFlags

    door = Door("h", 1, KEY, False, None, None, None)
    for holder in (UpstreamFlags(api_key=KEY), ProxyFlags(api_key=KEY), door):
        assert KEY not in repr(holder)
