"""`autobatcher serve` as a process: flags, events, signals, and what it leaves behind upstream."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from autobatcher.cli import main
from autobatcher.cli.proxy_flags import ProxyFlags
from autobatcher.server import CallLimits
from tests.cli.processes import COMMAND, default_signals, emulator, environment, find_url, read_until, started

END_SECONDS = 20
QUICK = ("--batch-window", "0.2", "--poll-interval", "0.2")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def quick_upstream() -> Iterator[str]:
    """Its batches take a second."""
    with emulator("--batch-seconds", "1") as url:
        yield url


@contextmanager
def proxy(upstream: str, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with started("serve", "--port", "0", "--base-url", upstream, "--api-key", "sk-secret", *QUICK, *flags) as process:
        text = read_until(process, "stderr", "export ")
        assert f"  export OPENAI_BASE_URL={find_url(text)} OPENAI_API_KEY=" in text
        yield process, find_url(text).removesuffix("/v1")


def still_running(upstream: str) -> list[str]:
    return [status for status in statuses(upstream) if status in ("validating", "in_progress", "finalizing")]


def statuses(upstream: str) -> list[str]:
    page = httpx.get(f"{upstream}/batches", params={"limit": 100}, timeout=10).json()
    return [batch["status"] for batch in page["data"]]


@contextmanager
def ask_in_background(url: str, count: int) -> Iterator[list[Any]]:
    """`count` clients that wait, each in a thread of its own, while the block runs; what they got is appended."""
    results: list[Any] = []
    client = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None))

    def ask(number: int) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": f"client {number}"}]}
        try:
            results.append(client.post(f"{url}/v1/chat/completions", json=body))
        except httpx.HTTPError as error:
            results.append(error)

    threads = [threading.Thread(target=ask, args=[number], daemon=True) for number in range(count)]
    with client:
        for thread in threads:
            thread.start()
        yield results
        for thread in threads:
            thread.join(END_SECONDS)
            assert not thread.is_alive(), "a client hangs"


def test_serve_answers_and_tells_events_as_sorted_json_lines() -> None:
    with emulator() as upstream, proxy(upstream, "--batch-metadata", "job=a=b") as (process, url):
        assert httpx.get(f"{url}/health").text == "ok"
        answer = httpx.post(f"{url}/v1/chat/completions", json=CHAT, timeout=30)
        assert "hello" in answer.json()["choices"][0]["message"]["content"]
        told = read_until(process, "stdout", "batch_completed")  # its callers are answered before
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=END_SECONDS)
        assert process.returncode == 0
    out = told + out
    events = [json.loads(line) for line in out.splitlines()]
    assert out.splitlines() == [json.dumps(event, sort_keys=True) for event in events]
    names = [event["event"] for event in events]
    assert names[0] == "batch_submitted"
    assert names[-1] == "client_closing"
    assert events[0]["metadata"] == {"job": "a=b"}
    assert "sk-secret" not in out + err
    (end,) = [line for line in err.splitlines() if "stopped" in line]
    assert end.endswith("stopped. 1 call answered, 0 failed, 0 given up. Nothing is left running upstream.")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("second_signal", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_answers_what_waits_cancels_upstream_and_exits_0(
    number: signal.Signals, second_signal: bool, slow_upstream: str
) -> None:
    with proxy(slow_upstream) as (process, url):
        with ask_in_background(url, 20) as results:
            read_until(process, "stdout", "batch_submitted")
            process.send_signal(number)
            if second_signal:
                process.send_signal(number)
            assert process.wait(END_SECONDS) == 0
        assert not still_running(slow_upstream)
        if not second_signal:
            assert {result.status_code for result in results if isinstance(result, httpx.Response)} == {503}


@pytest.mark.proves("faults", "the terminal of a command with paid work is closed")
def test_a_closed_terminal_cancels_upstream_as_a_signal_does(slow_upstream: str) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "serve", "--port", "0", "--base-url", slow_upstream, "--api-key", "k", *QUICK]
    # A session of its own, whose terminal this is: the kernel sends SIGHUP when it is closed.
    take_terminal = (
        f"import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv({command[0]!r}, {command!r})"
    )
    with (
        default_signals(),
        subprocess.Popen(
            [sys.executable, "-c", take_terminal],
            env=environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process,
    ):
        os.close(theirs)
        text = ""
        while "/v1 ->" not in text:
            text += os.read(ours, 65536).decode(errors="replace")
        url = find_url(text).removesuffix("/v1")
        with ask_in_background(url, 3) as results:
            while httpx.get(f"{url}/status").json()["active_batches"] < 1:
                os.read(ours, 65536)
            os.close(ours)
            assert process.wait(END_SECONDS) == 0
    assert [result.status_code for result in results] == [503] * 3
    assert not still_running(slow_upstream)


@pytest.mark.proves("faults", "the proxy may open few files, and more clients come than that")
def test_clients_beyond_the_limit_of_open_files_are_refused_and_the_others_answered(quick_upstream: str) -> None:
    flags = ("serve", "--port", "0", "--base-url", quick_upstream, "--api-key", "k", "--batch-window", "5")
    command = ["sh", "-c", 'ulimit -n 100 && exec "$@"', "sh", *COMMAND, *flags]
    with subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            told = read_until(process, "stderr", "--max-waiting is lowered to 44")
            with ask_in_background(find_url(told).removesuffix("/v1"), 150) as results:
                pass
        finally:
            process.terminate()
        _, log = process.communicate(timeout=END_SECONDS)
    assert len(results) == 150
    assert {result.status_code for result in results} == {200, 503}
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("given", "left", "is_told"), [(None, 15_000, False), (None, 900, True), (20_000, 15_000, True), (500, 500, False)]
)
def test_a_low_limit_of_open_files_is_told_to_those_whom_it_concerns(
    given: int | None, left: int, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    ProxyFlags(max_waiting=given).say_if_lowered("serve", CallLimits(max_waiting=left))
    assert ("--max-waiting is lowered" in capsys.readouterr().err) == is_told


def test_with_forwarded_keys_the_proxy_needs_none_of_its_own(quick_upstream: str) -> None:
    with started("serve", "--port", "0", "--base-url", quick_upstream, "--forward-keys", *QUICK) as process:
        url = find_url(read_until(process, "stderr", "/v1 ->"))
        key = {"authorization": "Bearer sk-caller"}
        assert httpx.post(f"{url}/chat/completions", json=CHAT, headers=key, timeout=30).status_code == 200
        assert httpx.get(f"{url}/models", headers=key).status_code == 200
        assert httpx.get(f"{url}/models").status_code == 401


def test_batches_are_left_running_if_so_told() -> None:
    with (
        emulator("--batch-seconds", "100") as upstream,
        proxy(upstream, "--keep-active-batches-on-close") as (process, url),
    ):
        with ask_in_background(url, 3):
            read_until(process, "stdout", "batch_submitted")
            process.terminate()
            assert process.wait(END_SECONDS) == 0
        assert still_running(upstream)


@pytest.mark.parametrize(
    "moment", [moment if moment % 3 == 0 else pytest.param(moment, marks=pytest.mark.nightly) for moment in range(10)]
)
def test_sigterm_at_any_moment_leaves_no_batch_running_and_no_client_hanging(moment: int, quick_upstream: str) -> None:
    """200 clients wait; the moments go from before their first request to after their last answer."""
    with proxy(quick_upstream, "--batch-size", "50") as (process, url):
        with ask_in_background(url, 200) as results:
            time.sleep(moment * 0.25)  # any moment will do: what must hold does not depend on it
            process.terminate()
            assert process.wait(END_SECONDS) == 0
        assert len(results) == 200
        assert not still_running(quick_upstream)
        assert {result.status_code for result in results if isinstance(result, httpx.Response)} <= {200, 503}


def test_a_signal_during_an_upload_leaves_nothing_behind(tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('{"faults": [{"level": "http", "operation": "files.create", "delay_seconds": 3}]}')
    with emulator("--faults", str(faults)) as upstream, proxy(upstream) as (process, url):
        with ask_in_background(url, 5) as results:
            time.sleep(1.5)  # the window closed after 0.2 s; the upload is on its way until 3.2 s
            process.terminate()
            assert process.wait(END_SECONDS) == 0
        assert {result.status_code for result in results if isinstance(result, httpx.Response)} == {503}
        assert statuses(upstream) == []


def test_a_reader_of_events_that_stalls_stalls_nobody_else() -> None:
    """Nobody reads the events here; a pipe holds 64 KB of them."""
    metadata = [part for i in range(16) for part in ("--batch-metadata", f"k{i}={'x' * 500}")]
    with emulator() as upstream, proxy(upstream, "--batch-size", "1", *metadata) as (process, url):
        with ask_in_background(url, 20) as results:
            pass
        assert {result.status_code for result in results} == {200}
        process.terminate()
        assert process.wait(END_SECONDS) == 0


def test_a_signal_during_start_up_ends_it_cleanly() -> None:
    with emulator() as upstream:
        for delay in (0.9, 1.1, 1.3):
            with started("serve", "--port", "0", "--base-url", upstream, "--api-key", "k") as process:
                read_until(process, "stderr", "/v1 ->") if delay > 1.2 else time.sleep(delay)
                process.terminate()
                assert process.wait(END_SECONDS) in (0, -signal.SIGTERM)  # before Python has even begun: killed


def test_a_wrong_value_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    broken = tmp_path / "broken.toml"
    broken.write_text("batch-size = [")
    unknown = tmp_path / "unknown.toml"
    unknown.write_text("batch-sice = 5")
    for flags in (
        ("--batch-size", "0"),
        ("--batch-window", "soon"),
        ("--batch-metadata", "novalue"),
        ("--provider", "nobody"),
        ("--base-url", "nonsense"),
        ("--port", "70000"),
        ("--config", str(tmp_path / "absent.toml")),
        ("--config", str(broken)),
        ("--config", str(unknown)),
        ("--no-such-flag",),
    ):
        assert main(["serve", *flags]) == 2, flags
        told = capsys.readouterr()
        assert len(told.err.strip().splitlines()) == 1, (flags, told.err)
        assert told.out == ""


def test_a_missing_key_says_how_to_give_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0"]) == 2
    assert "--api-key" in capsys.readouterr().err


def test_a_base_url_that_is_the_proxy_itself_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with started("serve", "--port", "0", "--base-url", "http://example.test/v1", "--api-key", "k") as process:
        port = re.findall(r":(\d+)/v1 ->", read_until(process, "stderr", "/v1 ->"))[0]
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):
        assert main(["serve", "--port", port, "--base-url", f"http://{host}:{port}/v1", "--api-key", "k"]) == 2
        assert "itself" in capsys.readouterr().err


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with emulator() as upstream:
        port = upstream.split(":")[2].split("/")[0]
        assert main(["serve", "--port", port, "--api-key", "k", "--base-url", "http://example.test/v1"]) == 2
        assert f"--port {port}" in capsys.readouterr().err


def test_an_open_proxy_warns_and_a_key_calms(tmp_path: Path) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(
        'base-url = "http://example.test/v1"\napi-key = "k"\nbatch-size = 7\ncors-origin = ["https://app.example"]\n'
    )
    flags = ("serve", "--port", "0", "--host", "0.0.0.0", "--config", str(config))
    with started(*flags, AUTOBATCHER_ALLOWED_HOST="proxy.example other.example") as process:
        text = read_until(process, "stderr", "/v1 ->")
        assert "WARNING" in text
        url = find_url(text.replace("0.0.0.0", "127.0.0.1")).removesuffix("/v1")
        for headers, status in (
            ({"host": "proxy.example", "origin": "https://app.example"}, 200),
            ({"host": "other.example"}, 200),
            ({"host": "10.0.0.7:8080"}, 403),
            ({"origin": "https://evil.example"}, 403),
        ):
            assert httpx.get(f"{url}/status", headers=headers).status_code == status, headers
        assert httpx.get(f"{url}/health", headers={"host": "10.0.0.7:8080"}).text == "ok"  # a probe of a pod
    key = "a key that nobody guesses"
    environment = {"AUTOBATCHER_PROXY_KEY": key, "AUTOBATCHER_BASE_URL": "http://other.test/v1"}
    with started(*flags, "--public-status", **environment) as process:
        text = read_until(process, "stderr", "/v1 ->")
        assert "WARNING" not in text
        assert "warning" not in text
        assert "http://other.test/v1" in text  # the environment wins over the file
        url = find_url(text.replace("0.0.0.0", "127.0.0.1")).removesuffix("/v1")
        assert httpx.get(f"{url}/status").status_code == 200
        assert httpx.get(f"{url}/v1/models").status_code == 401


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--allowed-host", "http://x"), ("--cors-origin", "null"), ("--proxy-key", "schlüssel")],
)
def test_a_host_an_origin_or_a_key_that_nobody_can_send_is_refused(
    flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "0", "--api-key", "k", flag, value]) == 2
    assert flag in capsys.readouterr().err
