"""Whether the upstream works: `autobatcher check`, and what `serve` and `run` find when they start."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.cli.processes import emulator, find_url, read_until, run_here, started

pytestmark = pytest.mark.real_time

KEY = ("--api-key", "sk-the-right-key")


def check(capfd: pytest.CaptureFixture[str], *flags: str, columns: int = 60) -> tuple[int, str]:
    """The exit code, and what was told."""
    code = run_here("check", *flags, COLUMNS=str(columns))
    told = capfd.readouterr()
    return code, told.out + told.err


def test_check_shows_in_sixty_columns_what_an_upstream_can(capfd: pytest.CaptureFixture[str]) -> None:
    with emulator(*KEY) as url:
        code, table = check(capfd, "--base-url", url, *KEY, "--provider", "doubleword")
    assert code == 0
    assert max(map(len, table.splitlines())) <= 60
    rows = {line[:16].strip(): line[16:].strip() for line in table.splitlines()}
    assert rows["reachable"].startswith("yes, in ")
    assert (rows["key"], rows["/v1"]) == ("accepted", "in the URL")
    assert (rows["batches"], rows["files"]) == ("yes", "yes")
    assert rows["models"] == "2 listed: gpt-emulator,"
    assert rows["profile"] == "doubleword (by --provider)"
    assert rows["endpoints"] == "chat/completions, completions, embeddings,"
    assert rows["partial output"] == "yes, while a batch runs"
    assert rows["a batch"] == "50,000 requests, 104 MB, 10 MB a request"


def test_check_tells_a_refused_key_a_missing_version_and_a_server_that_is_not_there(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with emulator(*KEY) as url:
        wrong = check(capfd, "--base-url", url, "--api-key", "sk-a-wrong-key")
        short = url.removesuffix("/v1")
        unversioned = check(capfd, "--base-url", short, *KEY)
        code, told = check(capfd, "--base-url", short, *KEY, "--json")
    assert wrong[0] == unversioned[0] == code == 1
    assert "refused: 401: Incorrect API key provided." in wrong[1]
    assert "sk-a-wrong-key" not in wrong[1]
    assert f"missing: use {url}" in unversioned[1]
    found = json.loads(told)
    assert (found["lacks_version"], found["found_at"], found["batches"]) == (True, url, "no")
    assert (found["works"], found["reachable"], found["key"]) == (False, True, "unknown")
    code, told = check(capfd, "--base-url", url, *KEY)  # nobody listens there any more
    assert code == 1
    assert "no: ConnectError" in told
    assert check(capfd, "--base-url", url)[0] == 2  # without a key


@pytest.mark.proves("faults", "`serve` or `run` starts with a key that is refused, or a URL without an API")
def test_run_and_serve_end_at_once_where_nothing_can_work(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with emulator(*KEY) as url:
        wrong, elsewhere = ("--base-url", url, "--api-key", "no"), ("--base-url", url.removesuffix("/v1"), *KEY)
        for upstream, why in ((wrong, "refuses the key: 401: "), (elsewhere, f"Try {url}. ")):
            for command, rest in (("serve", ("--port", "0")), ("run", ("--", "touch", str(ran)))):
                assert run_here(command, *upstream, *rest) == 2
                told = capfd.readouterr().err
                assert f"autobatcher {command}: the upstream " in told
                assert why in told
        assert not ran.exists()
        assert run_here("run", *wrong, "--no-check", "--", "touch", str(ran)) == 0
        assert ran.exists()
        assert run_here("run", "--base-url", url, *KEY, "--", "true") == 0
        assert ", and accepts the key.\n" in capfd.readouterr().err


def test_serve_listens_before_the_upstream_answers_and_outlives_an_outage(tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('{"faults": [{"level": "http", "operation": "batches.list", "delay_seconds": 1, "status": 503}]}')
    with (
        emulator("--faults", str(faults)) as upstream,
        started("serve", "--port", "0", "--base-url", upstream, *KEY) as process,
    ):
        proxy = find_url(read_until(process, "stderr", "/v1 ->"))
        assert httpx.get(f"{proxy.removesuffix('/v1')}/health", timeout=1.0).text == "ok"
        told = read_until(process, "stderr", "the upstream does not work now: 503: ")
        assert "It may work later, so serve goes on." in told
        assert httpx.get(f"{proxy.removesuffix('/v1')}/health", timeout=1.0).text == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
