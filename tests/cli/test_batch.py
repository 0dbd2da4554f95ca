"""`autobatcher batch`: in memory on both backends, and as a process."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest

from autobatcher import BatchOpenAI
from autobatcher.cli import main
from autobatcher.cli.batch_run import BatchRun, Counts
from autobatcher.emulator import FaultPlan, LineFault, Recorded
from autobatcher.files.input_file import InputFile
from autobatcher.files.output_file import OutputError, OutputFile
from autobatcher.progress import Progress
from tests.cli.processes import COMMAND, emulator, environment
from tests.harness import open_harness
from tests.journal.conftest import restarts
from tests.journal.restarts import Restarts

__all__ = ["restarts"]


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """On virtual time, files are written in place: a thread looks like idleness."""
    if request.node.get_closest_marker("real_time") is None:

        async def in_place(function: Callable[..., Any], *arguments: Any) -> Any:
            return function(*arguments)

        monkeypatch.setattr("autobatcher.cli.batch_run.to_thread.run_sync", in_place)


def line(custom_id: str, text: str = "x", **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": f"{text}."}]}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **fields}


class Files:
    """An input, an output and what a run makes of them."""

    def __init__(self, folder: Path) -> None:
        self.source, self.out, self.errors = (folder / name for name in ("in.jsonl", "out.jsonl", "errors.jsonl"))
        self.bad: list[int] = []

    def ask(self, lines: Iterable[dict[str, Any]]) -> None:
        self.source.write_text("".join(json.dumps(each) + "\n" for each in lines))

    async def run(self, client: BatchOpenAI, *, apart: bool = False, is_open: bool = False, **options: Any) -> Counts:
        """One run; what it raises or leaves for later makes the journal keep everything."""
        with OutputFile(str(self.out)) as output, OutputFile(str(self.errors)) as errors:
            settings: dict[str, Any] = {"ordered": False, "ahead": 1000, "ahead_bytes": 1e9, **options}
            run = BatchRun(
                client,
                InputFile(str(self.source), None),
                output,
                errors if apart else output,
                Progress(None),
                lambda bad: self.bad.append(bad.number),
                **settings,
            )
            async with nullcontext() if is_open else client:
                await run.run()
                if not run.is_complete:
                    client.keep_for_rerun()
        return run.counts

    def written(self, path: Path | None = None) -> list[dict[str, Any]]:
        path = path or self.out
        return [json.loads(each) for each in path.read_text().splitlines()] if path.exists() else []

    def ids(self, path: Path | None = None) -> list[str]:
        return [each["custom_id"] for each in self.written(path)]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def test_custom_ids_of_the_user_come_back_and_lines_are_split_by_what_may_travel_together(files: Files) -> None:
    embedding: dict[str, Any] = {"url": "/v1/embeddings", "body": {"model": "e", "input": "x"}}
    asked = [line("é 1"), line('"2"\n'), line("3", **embedding), line("", body={**line("")["body"], "model": "other"})]
    files.ask(asked)
    async with open_harness() as harness:
        counts = await files.run(harness.client())
        assert Counter(files.ids()) == Counter(each["custom_id"] for each in asked)
        assert counts == Counts(lines=0, answered=4)
        assert harness.emulator.statistics().batches_created == 3
        sent = {each.custom_id for each in harness.emulator.statistics().lines}
        assert not sent & set(files.ids())


async def test_failures_go_to_a_file_of_their_own_and_are_not_asked_again(files: Files) -> None:
    faults = FaultPlan((LineFault(kind="fail", status=400, containing="bad"),))
    files.ask([line("a"), line("b", "bad"), line("c", body={"messages": []})])
    async with open_harness(faults=faults) as harness:
        counts = await files.run(harness.client(), apart=True)
        assert (counts.answered, counts.failed, counts.bad) == (1, 1, 1)
        assert files.bad == [3]
        assert files.ids() == ["a"]
        (failed,) = files.written(files.errors)
        assert failed["custom_id"] == "b"
        assert failed["response"]["status_code"] == 400
        again = await files.run(harness.client(), apart=True)
        assert (again.earlier, again.earlier_failed, again.answered, again.failed) == (2, 1, 0, 0)
        files.errors.unlink()
        assert (await files.run(harness.client(), apart=True)).failed == 1


async def test_answers_come_in_order_if_they_are_to(files: Files) -> None:
    files.ask(line(f"{number}", f"q {number}") for number in range(10))
    async with open_harness(batch_seconds=Recorded((9.0, 1.0))) as harness:
        await files.run(harness.client(batch_size=5), ordered=True)
    assert files.ids() == [f"{number}" for number in range(10)]


async def test_reading_waits_for_room(files: Files) -> None:
    files.ask(line(f"{number}") for number in range(100))
    async with open_harness() as harness:
        await files.run(harness.client(batch_window_seconds=0.1), ahead=10)
        assert harness.emulator.statistics().batches_created == 10
        files.out.unlink()
        size = len(json.dumps(line("")["body"]))
        await files.run(harness.client(batch_window_seconds=0.1), ahead_bytes=20 * size)
        assert 5 <= harness.emulator.statistics().batches_created - 10 <= 6


async def test_the_last_window_does_not_wait_for_more(files: Files) -> None:
    files.ask([line("a")])
    async with open_harness() as harness:
        with anyio.fail_after(100):
            await files.run(harness.client(batch_window_seconds=1000))


@pytest.mark.proves(
    "faults", "`autobatcher batch` is killed between a line in its output and the note of it in its journal"
)
@pytest.mark.parametrize("killed_at", [0.5, 5.5, 9.0, 20.0])
@pytest.mark.parametrize("sync_seconds", [1.0, 1e9])
async def test_a_killed_run_goes_on_where_it_was_and_pays_nothing_twice(
    killed_at: float, sync_seconds: float, files: Files, restarts: Restarts
) -> None:
    """Equal bodies are as many calls as there are lines, also after a kill between OUT and the journal."""
    files.ask(line(f"{number}", f"q {number // 3}") for number in range(30))
    settings = {"batch_window_seconds": 5.0, "batch_size": 11}
    async with open_harness(batch_seconds=Recorded((1.0, 50.0, 1.0))) as harness:
        async with restarts.program(harness, **settings) as program:
            with anyio.move_on_after(killed_at):
                await files.run(program.client, is_open=True, sync_seconds=sync_seconds, ahead=10)
            program.die()
        assert len(files.ids()) == (10 if killed_at >= 9 else 0)
        restarts.new_process()
        counts = await files.run(restarts.client(harness, **settings))
        assert counts.earlier + counts.answered == 30
        assert sorted(files.ids(), key=int) == [f"{number}" for number in range(30)]
        billed = Counter(each.body["messages"][0]["content"] for each in harness.emulator.statistics().lines)
        assert billed == Counter({f"q {number}.": 3 for number in range(10)})


async def test_what_is_in_out_is_forgotten_by_the_journal(files: Files, restarts: Restarts) -> None:
    files.ask(line(f"{number}", f"q {number}") for number in range(10))
    async with open_harness() as harness:
        await files.run(restarts.client(harness))
        restarts.new_process()
        files.out.unlink()
        assert (await files.run(restarts.client(harness))).answered == 10
        assert len(harness.bodies_sent()) == 20


async def test_what_was_never_sent_is_not_written_and_reading_stops(files: Files) -> None:
    files.ask(line(f"{number}") for number in range(100))
    async with open_harness(api_key="another") as harness:
        counts = await files.run(harness.client(batch_window_seconds=0.1), ahead=10)
        assert counts.unsent == 10
        assert files.written() == []
        assert any("401" in reason for reason in counts.why_unsent)


async def test_an_output_that_cannot_be_written_ends_the_run(files: Files) -> None:
    files.ask([line("a")])
    files.out.write_text("my notes\n")
    async with open_harness() as harness:
        with pytest.raises(OutputError):
            await files.run(harness.client())
        assert harness.bodies_sent() == []


@pytest.mark.full_price
async def test_lines_with_a_deadline_go_on_to_the_next_lane_and_those_that_miss_it_are_failures(files: Files) -> None:
    files.ask(line(f"{number}") for number in range(3))
    async with open_harness(has_lanes=True, batch_seconds=100_000) as harness:
        hurried = {"deadline": "10m", "batch_window_seconds": 0.1}
        client = harness.client(lanes=("batch", "flex"), **hurried)
        counts = await files.run(client)
        assert (counts.answered, counts.failed) == (3, 0)
        assert [(row.lane, row.requests) for row in client.receipt().rows] == [("flex", 3)]
        assert sorted(files.ids()) == ["0", "1", "2"]
        files.out.unlink()
        counts = await files.run(harness.client(lanes=("batch",), **hurried), apart=True)
        assert (counts.answered, counts.failed, counts.unsent) == (0, 3, 0)
        assert {each["error"]["code"] for each in files.written(files.errors)} == {"deadline_missed"}


PRICES = {"m": {"input": "0", "output": "20000", "batch": {"input": "0", "output": "10000"}}}
"""Each answer costs a cent, and each token of output that a line allows."""


def limited(count: int, most: int = 10) -> list[dict[str, Any]]:
    return [line(f"{number}", body={**line("")["body"], "max_tokens": most}) for number in range(count)]


async def test_lines_that_a_cap_has_no_room_for_are_asked_by_the_next_run(files: Files, restarts: Restarts) -> None:
    files.ask(limited(60))
    async with open_harness() as harness:
        settings: dict[str, Any] = {"prices": PRICES, "batch_window_seconds": 0.1}
        counts = await files.run(restarts.client(harness, max_cost="0.5", **settings))
        assert (counts.answered, counts.unsent, counts.failed) == (41, 19, 0)  # the next one may cost too much
        assert list(counts.why_unsent.values()) == [
            "--max-cost: $0.4100 of $0.5000 are spent, and a line of up to $0.1000 did not fit. "
            "Raise it, or set a limit of output tokens in the lines."
        ]
        assert len(files.ids()) == 41
        restarts.new_process()
        again = await files.run(restarts.client(harness, max_cost="0.5", **settings))
        assert (again.earlier, again.answered, again.unsent) == (41, 0, 19)  # the journal adds up
        restarts.new_process()
        rest = await files.run(restarts.client(harness, max_cost="1", **settings))
        assert (rest.earlier, rest.answered, rest.unsent) == (41, 19, 0)
        assert len(harness.bodies_sent()) == 60


async def test_near_a_cap_results_that_trickle_in_do_not_make_a_batch_each(files: Files) -> None:
    files.ask(limited(150))
    async with open_harness("doubleword", batch_seconds=600.0) as harness:
        counts = await files.run(harness.client(prices=PRICES, max_cost="4"))
        assert (counts.answered, counts.unsent) == (150, 0)
        assert harness.emulator.statistics().batches_created <= 20


async def test_reading_stops_when_nothing_fits_any_more_and_short_lines_behind_a_long_one_are_asked(
    files: Files,
) -> None:
    async with open_harness() as harness:
        settings = {"prices": PRICES, "max_cost": "0.5", "batch_window_seconds": 0.1}
        files.ask([*limited(1, 1000), *limited(2)[1:]])
        assert (await files.run(harness.client(**settings))).answered == 1
        files.ask(limited(3000, 1000))
        files.out.unlink()
        counts = await files.run(harness.client(**settings), ahead=10)
        assert 1000 <= counts.unsent <= 1100
        assert files.ids() == []


def batch(*arguments: str, base_url: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    quick = ("--batch-window", "0.1", "--poll-interval", "0.1")
    return subprocess.run(
        [*COMMAND, "batch", *arguments, *quick],
        env=environment(OPENAI_API_KEY="k", OPENAI_BASE_URL=base_url),
        input=stdin or "",
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("-o", "in.jsonl"), "--output: in.jsonl is the input itself"),
        (("-o", "none/out"), "cannot write none/out: there is no directory none."),
        (("-o", "out.jsonl.gz"), "--output: out.jsonl.gz would not be compressed"),
        (("-o", "out", "--errors", "./out"), "--errors is the same file as --output: leave it out"),
        (("-o", "out", "--receipt", "in.jsonl"), "--receipt: in.jsonl is the input itself"),
        (("-o", "out", "--receipt", "out"), "--receipt is the same file as --output: give another one"),
    ],
)
def test_files_that_would_destroy_each_other_are_refused(
    flags: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text(json.dumps(line("a")) + "\n")
    assert main(["batch", "in.jsonl", *flags]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert os.listdir() == ["in.jsonl"]


@pytest.mark.real_time
def test_the_command_answers_names_bad_lines_and_refuses_what_cannot_be_meant(tmp_path: Path) -> None:
    """One process for each exit code."""
    files = Files(tmp_path)
    bodies = "".join(json.dumps(line("", f"q {number}")["body"]) + "\n" for number in range(5))
    with emulator("--batch-seconds", "0.2", "--api-key", "k") as base_url:
        piped = batch(
            "-", "-o", "-", "--endpoint", "/v1/chat/completions", "--ordered", base_url=base_url, stdin=bodies
        )
        assert piped.returncode == 0, piped.stderr
        assert [json.loads(each)["custom_id"] for each in piped.stdout.splitlines()] == [
            f"line-{n}" for n in range(1, 6)
        ]
        assert "5 lines: 5 answered." in piped.stderr

        files.ask([line("a"), line("b"), line("a")])
        twice = batch(str(files.source), "-o", str(files.out), base_url=base_url)
        assert (twice.returncode, files.out.exists()) == (2, False)
        assert "lines 1 and 3: 'a'" in twice.stderr

        files.source.write_text(f"{json.dumps(line('a'))}\nnonsense\n{json.dumps(line('b', body={'messages': []}))}\n")
        strict = batch(str(files.source), "-o", str(files.out), "--strict", base_url=base_url)
        assert (strict.returncode, files.out.exists()) == (2, False)
        partly = batch(str(files.source), "-o", str(files.out), "--json", base_url=base_url)
        assert partly.returncode == 1
        assert f"{files.source}:2: it is not valid JSON: " in partly.stderr
        assert "3 lines: 1 answered, 2 bad (lines 2, 3). Correct the bad lines" in partly.stderr
        assert json.loads(partly.stdout.splitlines()[-1])["answered"] == 1
        assert files.ids() == ["a"]
        assert sorted(each.name for each in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]

    with emulator("--api-key", "another") as base_url:
        refused = batch(str(files.source), "-o", str(tmp_path / "new"), base_url=base_url)
        assert refused.returncode == 3
        assert "nothing could be sent" in refused.stderr


@pytest.mark.real_time
def test_a_reader_that_leaves_ends_the_command_as_a_shell_expects(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.ask(line(f"{number}", "x" * 500) for number in range(400))
    with emulator("--batch-seconds", "0.2") as base_url:
        command = [*COMMAND, "batch", str(files.source), "-o", "-", "--batch-window", "0.1", "--poll-interval", "0.1"]
        variables = environment(OPENAI_API_KEY="k", OPENAI_BASE_URL=base_url)
        with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            said = process.stderr.read().decode()
            assert process.wait(100) == 141, said
    assert "Traceback" not in said


@pytest.mark.real_time
def test_the_command_plans_caps_and_tells_what_was_paid(tmp_path: Path) -> None:
    files = Files(tmp_path)
    prices, receipt = tmp_path / "prices.toml", tmp_path / "receipt.json"
    prices.write_text("[m]\ninput = 0\noutput = 20000\nbatch = {input = 0, output = 10000}\n")
    files.ask(limited(60))
    paying = (str(files.source), "-o", str(files.out), "--prices", str(prices), "--json")
    planned = json.loads(batch(*paying, "--plan", base_url="http://127.0.0.1:9/v1").stdout)
    assert (planned["requests"], planned["batches"]) == (60, 1)
    assert not files.out.exists()
    with emulator("--batch-seconds", "0.2") as base_url:
        capped = batch(*paying, "--max-cost", "0.5", "--receipt", str(receipt), base_url=base_url)
    assert capped.returncode == 1
    assert "not sent: --max-cost: $0.4100 of $0.5000 are spent" in capped.stderr
    assert "cost: $0.4100 for 41 requests instead of $0.8200" in capped.stderr
    assert "60 lines: 41 answered, 19 not sent. Run the same command again" in capped.stderr
    last = json.loads(capped.stdout.splitlines()[-1])
    assert (last["answered"], last["failed"], last["requests"]) == (41, 0, 60)
    assert (last["cost"], last["list_price"]) == ("0.41", "0.82")
    assert json.loads(receipt.read_text())["cost"] == "0.41"
    planned = json.loads(batch(*paying, "--plan", base_url="http://127.0.0.1:9/v1").stdout)
    assert planned["requests"] == 19
