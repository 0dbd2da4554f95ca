"""Failed lines on the page, and calls in the request log."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import trio

from autobatcher.emulator import FaultPlan, HttpFault, LineFault
from autobatcher.engine.failure import Failure
from autobatcher.engine.request import Request
from autobatcher.server import Report
from autobatcher.server.appended_file import AppendedFile
from autobatcher.server.failed_lines import REMEMBERED, FailedLines
from autobatcher.server.request_log import request_log
from autobatcher.upstream.account import Account
from autobatcher.upstream.providers import profile_named
from tests.receipts import BILLED_PRICES, GIVEN_PRICES
from tests.server.proxies import on_real_trio, open_proxy

LIMIT = 30
PROMPT = "Summarize the file of the patient Jane Roe, who was born in 1970"


def refusal(message: str, code: str) -> str:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}})


async def call(http: Any, content: str = PROMPT) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    status: int = (await http.post("/v1/chat/completions", json=body)).status_code
    return status


class TestOnRealTrio:
    pytestmark = on_real_trio

    @pytest.mark.proves("faults", "some lines of a batch are refused, and nobody looks at their callers' errors")
    async def test_sixteen_failed_lines_among_many_are_on_the_page_with_their_reason(self) -> None:
        said = f"max_tokens of '{PROMPT} 1' is too large"
        faults = FaultPlan(
            (LineFault(kind="fail", status=400, body=refusal(said, "too_large"), lines=tuple(range(1, 17))),)
        )
        report, statuses = Report(), list[int]()

        async def one(number: int) -> None:
            statuses.append(await call(http, f"{PROMPT} 1 {number}"))

        with trio.fail_after(LIMIT):
            async with (
                open_proxy(
                    emulator={"faults": faults}, app={"report": report}, batch_event_handler=report.take_event,
                    batch_window_seconds=1.0,
                ) as proxy,
                proxy.http() as http,
            ):  # fmt: skip
                async with trio.open_nursery() as clients:
                    for number in range(40):
                        clients.start_soon(one, number)
                status = (await http.get("/status")).json()
        assert statuses.count(400) == len(status["failures"]) == 16
        (batch,) = status["batches"]
        newest = status["failures"][0]
        assert {name: newest[name] for name in newest if name not in ("time", "custom_id")} == {
            "status": 400,
            "code": "too_large",
            "model": "m",
            "endpoint": "/v1/chat/completions",
            "message": "max_tokens of '***' is too large",
            "batch_id": batch["id"],
            "tries": 1,
            "lane": "batch",
        }
        assert len({failure["custom_id"] for failure in status["failures"]}) == 16
        assert newest["time"] >= status["failures"][-1]["time"]
        assert status["errors"] == []  # those of whole batches

    async def test_ready_and_the_page_say_why_the_upstream_refuses(self) -> None:
        fault = HttpFault(operation="*", status=401, body=refusal("invalid api key", "invalid_api_key"))
        report = Report()
        with trio.fail_after(LIMIT):
            async with (
                open_proxy(
                    emulator={"faults": FaultPlan((fault,))}, app={"report": report},
                    batch_event_handler=report.take_event,
                ) as proxy,
                proxy.http() as http,
            ):  # fmt: skip
                ready = await http.get("/ready")
                assert await call(http) == 401
                status = (await http.get("/status")).json()
        assert ready.status_code == 503
        assert ready.json()["reason"] == "the upstream answered 401: invalid api key"
        (failure,) = status["failures"]
        assert (failure["status"], failure["message"], failure["batch_id"]) == (401, "invalid api key", None)
        assert any("POST /files answered 401: invalid api key" in error["text"] for error in status["errors"])

    async def test_the_request_log_has_a_line_for_each_call_without_its_prompt(self, tmp_path: Path) -> None:
        path, faults = tmp_path / "calls.jsonl", FaultPlan((LineFault(kind="fail", status=503, containing="bad"),))
        with trio.fail_after(LIMIT), request_log(path) as log:
            async with (
                open_proxy(
                    emulator={"faults": faults, "prices": BILLED_PRICES},
                    app={"request_log": log},
                    prices=GIVEN_PRICES,
                    max_retries=1,
                ) as proxy,
                proxy.http() as http,
            ):
                assert await call(http) == 200
                assert await call(http, f"bad {PROMPT}") == 503
                assert (await http.post("/v1/chat/completions", content=b"[]")).status_code == 400
                (row,) = (await http.get("/receipt")).json()["rows"]
        good, bad, refused = (json.loads(line) for line in path.read_text().splitlines())
        assert "Jane Roe" not in path.read_text()
        assert path.stat().st_mode & 0o777 == 0o600
        assert (good["status"], good["cost"], good["tries"], good["lane"]) == (200, row["cost"], 1, "batch")
        assert good["batch_id"] != bad["batch_id"]
        assert good["output_tokens"] > 0
        assert good["request_bytes"] > len(PROMPT)
        assert (bad["status"], bad["cost"], bad["tries"]) == (503, None, 2)
        assert (refused["status"], refused["model"], refused["endpoint"]) == (400, None, "/v1/chat/completions")
        assert good.keys() == bad.keys() == refused.keys()


def failed_request(number: int) -> Any:
    request = Request(
        account=Account(base_url="http://upstream.test/v1", provider=profile_named("openai")),
        endpoint="/v1/embeddings",
        body=b"{}",
        model="m\x1b[2J" * 99,
    )
    request.custom_id, request.tries = str(number), 1
    request.failure = Failure(400, None, "no", "batch", None)
    return request


def test_the_newest_two_hundred_failures_are_remembered_and_can_be_shown() -> None:
    lines = FailedLines(lambda: 1.0)
    for number in range(REMEMBERED + 50):
        lines.take(failed_request(number), 0.0)
    told = lines.fields()
    assert [line["custom_id"] for line in told] == [str(number) for number in range(249, 49, -1)]
    assert told[0]["model"].isprintable()
    assert len(told[0]["model"]) <= 200


class TestAppendedFile:
    def test_a_file_that_was_moved_away_is_made_anew(self, tmp_path: Path) -> None:
        path, moved = tmp_path / "log", tmp_path / "log.1"
        file = AppendedFile(path)
        assert file.write(b"a\n")
        path.rename(moved)
        assert file.write(b"b\n")
        file.close()
        assert (moved.read_bytes(), path.read_bytes()) == (b"a\n", b"b\n")

    def test_a_line_that_was_cut_off_is_not_continued(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(b'{"time": 1')
        file = AppendedFile(path)
        assert file.write(b"b\n")
        file.close()
        assert path.read_bytes() == b'{"time": 1\nb\n'

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
    def test_a_full_disk_is_said_once_and_fails_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        file = AppendedFile(Path("/dev/full"))
        assert not file.write(b"a\n")
        assert not file.write(b"b\n")
        file.close()
        (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert said == "autobatcher: cannot write /dev/full: No space left on device"
