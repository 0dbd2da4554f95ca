"""The journal with serve, run and BatchTransport, and at the exit of a process."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest
import trio

from autobatcher import BatchOpenAI, BatchOpenAISync, BatchTransport
from autobatcher.emulator import Emulator
from autobatcher.engine.journal.ownership import Ownership
from autobatcher.errors import JournalInUseError
from autobatcher.server import CallLimits
from tests.cli.processes import emulator, environment, read_until, run, started
from tests.cli.test_run import ASK
from tests.cli.test_run import flags as run_flags
from tests.cli.test_serve import CHAT, END_SECONDS, ask_in_background, proxy, statuses
from tests.harness import SDK_LIBRARY, ask, open_harness, wait_for_event
from tests.journal.restarts import Restarts, billed
from tests.server.proxies import open_proxy

# ---- serve ----


@pytest.mark.real_time
def test_a_proxy_that_is_stopped_leaves_its_batch_to_its_next_start(tmp_path: Path) -> None:
    journal = ("--journal", str(tmp_path / "journal"))
    with emulator("--batch-seconds", "4") as upstream:
        with proxy(upstream, *journal) as (process, url), ask_in_background(url, 2) as results:
            read_until(process, "stdout", "batch_submitted")
            process.terminate()
            assert process.wait(END_SECONDS) == 0
        assert [response.status_code for response in results] == [503, 503]
        assert statuses(upstream) == ["in_progress"]
        with proxy(upstream, *journal) as (_, url), ask_in_background(url, 2) as results:
            pass
        assert [response.status_code for response in results] == [200, 200]
        assert statuses(upstream) == ["completed"]


@pytest.mark.real_time
def test_a_second_program_on_one_journal_is_a_usage_error(tmp_path: Path) -> None:
    journal = ("--journal", str(tmp_path / "journal"))
    owner = Ownership(tmp_path / "journal")
    done = run(*run_flags("http://127.0.0.1:9/v1"), *journal, "--", "true")
    owner.release()
    assert done.returncode == 2
    assert "in use by another engine" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_an_answer_whose_client_has_gone_is_kept_for_longer_than_the_grace(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with (
            open_proxy(
                emulator={"batch_seconds": 1},
                app={"limits": CallLimits(grace_seconds=0.2)},
                journal=tmp_path / "journal",
                cancel_abandoned_batches=False,
            ) as door,
            door.http() as http,
        ):
            with trio.move_on_after(0.3):
                await http.post("/v1/chat/completions", json=CHAT)
            await wait_for_event(door.harness, "batch_completed")
            await trio.sleep(0.3)
            assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 200
            assert len(door.harness.emulator.statistics().lines) == 1


# ---- run ----


@pytest.mark.real_time
def test_a_command_that_fails_leaves_its_batch_and_its_answers_to_its_rerun(tmp_path: Path) -> None:
    journal = ("--journal", str(tmp_path / "journal"))
    with emulator() as upstream:
        command = ("--", sys.executable, "-c", ASK + "sys.exit(int(sys.argv[2]))", "hello there")
        assert run(*run_flags(upstream), *journal, *command, "7").returncode == 7
        assert run(*run_flags(upstream), *journal, *command, "0").returncode == 0
        assert len(statuses(upstream)) == 1


@pytest.mark.real_time
def test_a_command_that_ci_kills_finds_its_batch_again(tmp_path: Path) -> None:
    journal = ("--journal", str(tmp_path / "journal"))
    with emulator("--batch-seconds", "2") as upstream:
        command = ("--", sys.executable, "-c", ASK, "hello there")
        with started(*run_flags(upstream), *journal, "--events", "/dev/stderr", *command) as process:
            read_until(process, "stderr", "batch_submitted")
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_SECONDS) == 128 + signal.SIGTERM
        done = run(*run_flags(upstream), *journal, *command)
        assert "hello there" in done.stdout
        assert statuses(upstream) == ["completed"]


# ---- the end of a process ----

PROGRAM = """
import asyncio, sys
from autobatcher import BatchOpenAI

async def main():
    async with BatchOpenAI(api_key="k", base_url=sys.argv[1], provider="openai", journal=sys.argv[2],
                           batch_window_seconds=0.01, poll_interval_seconds=0.01) as client:
        completion = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "a"}])
        exec(sys.argv[3])
    exec(sys.argv[4])

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with emulator() as url:
        yield url


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("inside", "after", "is_given_again"),
    [
        ("", "", False),
        ("", "1 / 0", True),
        ("sys.exit(0)", "", False),
        ("sys.exit(3)", "", True),
        ("client.keep_for_rerun()", "sys.exit(3)", True),
        ("", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)", True),
    ],
)
def test_answers_are_given_again_unless_the_process_ended_well(
    inside: str, after: str, is_given_again: bool, tmp_path: Path, upstream: str
) -> None:
    journal, before = tmp_path / "journal", len(statuses(upstream))
    command = [sys.executable, "-c", PROGRAM, upstream, str(journal), inside, after]
    subprocess.run(command, env=environment(), capture_output=True, timeout=30, check=False)
    assert len(statuses(upstream)) == before + 1

    async def ask_again() -> None:
        fast = {"batch_window_seconds": 0.01, "poll_interval_seconds": 0.01}
        async with BatchOpenAI(api_key="k", base_url=upstream, provider="openai", journal=journal, **fast) as client:  # type: ignore[arg-type]
            await ask(client, "a")

    asyncio.run(ask_again())
    assert len(statuses(upstream)) == (before + 1 if is_given_again else before + 2)


# ---- other doors ----


async def test_a_transport_has_a_journal_too(restarts: Restarts) -> None:
    url, headers = "http://upstream.test/v1/chat/completions", {"authorization": "Bearer test-key"}
    async with open_harness(batch_seconds=30.0) as harness:
        for is_last in (False, True):
            restarts.new_process()
            transport = BatchTransport(
                http_client=harness.emulator.http_client(),
                provider="openai",
                journal=restarts.path,
                batch_window_seconds=1.0,
                max_wait_seconds=None if is_last else 10.0,
                cancel_abandoned_batches=False,
            )
            restarts.on_virtual_time(transport._host)
            async with httpx.AsyncClient(transport=transport) as http:
                response = await http.post(url, json=CHAT, headers=headers, timeout=None)
                assert response.status_code == (200 if is_last else 504)
        assert billed(harness) == {"hello": 1}


@pytest.mark.real_time
def test_a_bare_client_used_in_two_event_loops_gets_a_new_answer_in_each(tmp_path: Path) -> None:
    emulated = Emulator()
    client = BatchOpenAI(
        api_key="k",
        base_url="http://upstream.test/v1",
        http_client=emulated.http_client(library=SDK_LIBRARY),
        journal=tmp_path / "journal",
        batch_window_seconds=0.01,
        poll_interval_seconds=0.01,
    )
    for _ in range(2):
        assert "a" in asyncio.run(ask(client, "a"))
    asyncio.run(client.close())
    assert len(emulated.statistics().lines) == 2
    emulated.close()


@pytest.mark.real_time
def test_a_sync_client_whose_journal_was_in_use_can_be_used_when_it_is_free(tmp_path: Path, upstream: str) -> None:
    path = tmp_path / "journal"
    owner = Ownership(path)
    with BatchOpenAISync(
        api_key="k",
        base_url=upstream,
        provider="openai",
        journal=path,
        batch_window_seconds=0.01,
        poll_interval_seconds=0.01,
    ) as client:
        with pytest.raises(JournalInUseError):
            client.responses.create(model="m", input="x")
        owner.release()
        assert client.responses.create(model="m", input="x").output_text
        assert client.models.list().data


@pytest.mark.real_time
def test_a_sync_client_may_be_told_to_keep_all_before_its_first_call(tmp_path: Path, upstream: str) -> None:
    fast = {"batch_window_seconds": 0.01, "poll_interval_seconds": 0.01, "journal": tmp_path / "journal"}
    ids = []
    for _ in range(2):
        client = BatchOpenAISync(api_key="k", base_url=upstream, provider="openai", **fast)  # type: ignore[arg-type]
        client.keep_for_rerun()
        ids.append(client.responses.create(model="m", input="x").id)
        client.close()
    assert ids[0] == ids[1]


async def test_an_exception_that_leaves_the_block_of_an_http_client_keeps_what_was_taken(restarts: Restarts) -> None:
    url, headers = "http://upstream.test/v1/chat/completions", {"authorization": "Bearer test-key"}
    async with open_harness() as harness:
        restarts.new_process()

        async def program(ending: type[Exception] | None) -> None:
            transport = BatchTransport(
                http_client=harness.emulator.http_client(),
                provider="openai",
                journal=restarts.path,
                batch_window_seconds=1.0,
            )
            restarts.on_virtual_time(transport._host)
            async with httpx.AsyncClient(transport=transport) as http:
                assert (await http.post(url, json=CHAT, headers=headers)).status_code == 200
                if ending is not None:
                    raise ending

        with pytest.raises(ZeroDivisionError):
            await program(ZeroDivisionError)
        await program(None)
        assert billed(harness) == {"hello": 1}


async def test_closing_a_client_before_its_first_call_leaves_no_file(restarts: Restarts) -> None:
    async with open_harness() as harness:
        client = restarts.client(harness)
        await client.close()
        await anyio.sleep(1)
    assert not restarts.path.exists()
