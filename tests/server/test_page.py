"""The live page, looked at by Chromium.

Needs Node.js, /usr/bin/chromium, and NODE_MODULES_FOR_TESTS: a node_modules with playwright-core and axe-core in it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from autobatcher import events
from autobatcher.emulator import BatchFault, FaultPlan
from autobatcher.server import Report
from tests.receipts import GIVEN_PRICES
from tests.server.proxies import Proxy, on_real_trio, open_proxy

MODULES = os.environ.get("NODE_MODULES_FOR_TESTS", "")
CHROMIUM = Path("/usr/bin/chromium")
SCRIPT = Path(__file__).with_name("page_check.mjs")
LIMIT = 40
"""Chromium takes its time where many tests share few cores."""

pytestmark = [
    *on_real_trio,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not there"),
    pytest.mark.skipif(
        not all((Path(MODULES) / name).is_dir() for name in ("playwright-core", "axe-core")),
        reason="NODE_MODULES_FOR_TESTS has no playwright-core and axe-core",
    ),
]


class Look:
    """A run of page_check.mjs."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self._output = process.stdout
        self._text = ""

    async def next(self) -> dict[str, Any]:
        """What it tells next."""
        while "\n" not in self._text:
            chunk = await self._output.receive_some()
            assert chunk, "page_check.mjs ended early"
            self._text += chunk.decode()
        line, _, self._text = self._text.partition("\n")
        told: dict[str, Any] = json.loads(line)
        return told

    async def end(self) -> dict[str, Any]:
        """What it tells last, when nothing may be wrong with the page itself."""
        told = await self.next()
        assert told["errors"] == []
        assert told["strangers"] == []
        assert not any(told.get("violations", {}).values()), told["violations"]
        assert not any(told.get("sideways", {}).values()), told["sideways"]
        return told


@asynccontextmanager
async def look_at(proxy: Proxy, scenario: str, key: str = "") -> AsyncGenerator[Look]:
    command = ["node", str(SCRIPT), MODULES, str(CHROMIUM), proxy.url, scenario, key]
    async with trio.open_nursery() as nursery:
        yield Look(await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE)))


async def ask(http: httpx.AsyncClient, text: str) -> None:
    await http.post("/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": text}]})


async def test_the_page_shows_what_waits_and_follows_it_without_a_click() -> None:
    report = Report()
    with trio.fail_after(LIMIT):
        async with (
            open_proxy(
                emulator={"batch_seconds": 60}, app={"report": report}, batch_event_handler=report.take_event
            ) as proxy,
            proxy.http() as http,
            trio.open_nursery() as clients,
        ):
            for i in range(4):
                clients.start_soon(ask, http, f"question {i}")
            async with look_at(proxy, "looks") as look:
                assert await look.next() == {"ready": True}
                clients.start_soon(ask, http, "one more")
                told = await look.end()
            clients.cancel_scope.cancel()
    assert len(told["after"]) == len(told["before"]) + 1
    assert all("in progress" in text and "second" in text for text in told["before"])
    assert len(told["bars"]) == len(told["after"])
    assert all(text == "0 of 1 answered" or text == "0 of 4 answered" for text in told["bars"])
    assert all("/v1/chat/completions" in text and "24h window" in text and "left" in text for text in told["before"])
    assert told["title"].startswith("5 waiting")


async def test_an_empty_page_says_what_to_do() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, look_at(proxy, "isEmpty") as look:
            told = await look.end()
    assert f"No batch yet. Send a request to {proxy.url}/v1" in told["text"]
    assert f"OPENAI_BASE_URL={proxy.url}/v1\n" in told["text"]
    assert f"curl {proxy.url}/v1/chat/completions" in told["text"]
    assert "$0.00" in told["text"]


async def test_what_an_error_says_is_text_and_never_markup() -> None:
    evil = "<img src=x onerror='injected = 1'><script>injected = 2</script>"
    report = Report()
    failing = FaultPlan(faults=(BatchFault(first=1, ends="failed"),))
    with trio.fail_after(LIMIT):
        async with (
            open_proxy(
                emulator={"faults": failing}, app={"report": report}, batch_event_handler=report.take_event
            ) as proxy,
            proxy.http() as http,
        ):
            await ask(http, "in a batch that fails")
            (failed,) = report.status()["batches"]
            report.take_event(
                events.BatchSubmissionFailed(
                    ts=0.0,
                    endpoint="/v1/responses",
                    request_count=1,
                    models=["m"],
                    completion_window="24h",
                    metadata={},
                    error=evil,
                ).to_dict()
            )
            async with look_at(proxy, "showsErrors") as look:
                told = await look.end()
    newest, oldest = told["shown"]
    assert newest.split("\n", 1) == ["00:00:00 UTC", evil]
    assert "failed" in oldest
    assert told["batches"] == [failed["id"]]
    assert told["elements"] == 0
    assert told["injected"] is None


async def test_what_the_calls_cost_is_shown_by_model_and_what_is_unknown_is_said() -> None:
    evil = "<img src=x>"
    prices = {"m": GIVEN_PRICES["*"]}
    with trio.fail_after(LIMIT):
        async with open_proxy("doubleword", prices=prices, max_cost="1/day") as proxy, proxy.http() as http:
            for model in ("m", evil):
                body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
                assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
            async with look_at(proxy, "showsCost") as look:
                told = await look.end()
    priced, unpriced = told["rows"]
    assert priced.startswith("m")
    assert "$0.0000083" in priced
    assert "batch, 1 request, $0.0000193 in real time" in priced
    assert evil in unpriced
    assert "unknown" in unpriced
    assert told["elements"] == 0
    assert "1 request of unknown price" in told["totals"]
    assert "left of $1 a day" in told["totals"]


async def test_the_engines_that_share_the_journal_are_a_table_and_their_names_are_text(postgres_url: str) -> None:
    stores = pytest.importorskip("tests.journal.postgres.stores", exc_type=ImportError)
    evil = "http://host:1/<img src=x>"
    with closing(stores.Stores(postgres_url)) as journal, trio.fail_after(LIMIT):
        other = journal.open()
        stores.do(other, type(other).begin_session, "process", now=time.time() - 3725, url=evil)
        stores.write_batch(other, "left", [b"a"], account=b"x", base_url="http://elsewhere.test/v1")
        stores.do(other, type(other).update, "left", now=time.time(), stage="created")  # else it is old, and forgotten
        stores.do(other, type(other).release_all)
        async with open_proxy(journal=postgres_url) as proxy, look_at(proxy, "showsFleet") as look:
            told = await look.end()
    assert "this one" in told["engines"][0]
    assert any(evil in row and "lives" in row and "up for 1 hour 2 minutes" in row for row in told["engines"][1:])
    assert told["note"].startswith("Unfinished batches that no engine runs: 1.")
    assert told["accounts"] == ["http://elsewhere.test/v1 (openai): 1"]
    assert told["elements"] == 0


class Failing(Report):
    """What a proxy would tell whose callers choose odd names of models."""

    def status(self, most_batches: int = 50) -> dict[str, Any]:
        line = {"code": None, "endpoint": "/v1/responses", "batch_id": "batch_1", "tries": 2, "lane": "batch"}
        alike = [{**line, "custom_id": f"line-{i}", "status": 400, "model": EVIL, "message": EVIL} for i in range(25)]
        others = [{**line, "custom_id": None, "status": 0, "model": f"m{i}", "message": ""} for i in range(6)]
        kind = {"endpoint": "/v1/responses", "model": EVIL, "queued": 3, "under_way": 1_200}
        kinds = [{**kind, "lane": lane, "oldest_queued_seconds": 61.0} for lane in ("batch", "flex")]
        return {
            **super().status(most_batches),
            "failures": [{**failure, "time": 1e9} for failure in (*alike, *others)],
            "queue": {"kinds": kinds, "kinds_left_out": 7},
            "history": {
                "waiting": [None, 1_500, 20],
                "answered": [None, 30, 2],
                "failed": [None, 4, 0],
            },
        }


EVIL = "<img src=x>"


async def test_failures_are_told_by_cause_and_what_waits_by_kind_and_minute() -> None:
    key = "open: sesame"
    with trio.fail_after(LIMIT):
        async with (
            open_proxy(app={"report": Failing(), "proxy_key": key}) as proxy,
            look_at(proxy, "showsWhatFails", key) as look,
        ):
            told = await look.end()
    assert (len(told["causes"]), told["more"], told["allCauses"]) == (5, "Show all 7 causes", 7)
    assert all(word in told["causes"][0] for word in ("400", EVIL, "/v1/responses", "batch lane", "25 requests"))
    assert told["causes"][1].startswith("no response")
    assert (len(told["lines"]), told["lines"][-1]) == (21, "and 5 more")
    assert "2001-09-09 01:46:40 UTC" in told["lines"][0]
    assert "batch_1" in told["lines"][0]
    assert "line-0" in told["lines"][0]
    assert "try 2" in told["lines"][0]
    assert told["outline"] == "solid"
    assert told["elements"] == 0
    assert [EVIL in row and "3\t1,200" in row and "queued for 1 minute" in row for row in told["kinds"]] == [True] * 2
    assert told["plots"][0] == "Requests waiting in the last 3 minutes: 1,500 at most, 20 now"
    assert "34 at most; 32 answered and 4 failed together" in told["plots"][1]
    assert told["bars"] == 3
    assert told["minutes"] == ["1\t1,500\t30\t4", "2" + 3 * "\t\N{EN DASH}"]
    assert told["live"] == ["connection"]


async def test_old_batches_are_a_key_press_away() -> None:
    report = Report()
    report.progress.submitted_batches = 1_000  # which are forgotten
    counts = events.RequestCounts(completed=2, failed=1, total=3)
    for i in range(60):
        batch: dict[str, Any] = {"ts": 0.0, "batch_id": f"batch_{i}", "input_file_id": "f", "endpoint": "/v1/responses"}
        batch |= {"request_count": 3, "models": ["m"], "completion_window": "24h", "metadata": {}}
        end = {**batch, "counts": counts, "elapsed_seconds": 1.0}
        report.take_event(events.BatchSubmitted(**batch).to_dict())
        report.progress.started_at -= 3725  # time passes
        if i == 59:
            report.take_event(events.BatchTerminal(**end, status="expired").to_dict())
        elif i > 0:
            report.take_event(events.BatchCompleted(**end).to_dict())
    with trio.fail_after(LIMIT):
        async with open_proxy(app={"report": report}) as proxy, look_at(proxy, "hasManyBatches") as look:
            told = await look.end()
    assert (told["few"], told["more"]) == (11, "Show all 60")  # ten that ended, and the one that still runs
    assert (told["all"], told["isExpanded"]) == (60, "true")
    assert told["statuses"] == ["expired", *["completed"] * 58, "submitted"]
    assert told["ages"] == [*["took 1 hour 2 minutes"] * 59, "for 2 days 14 hours"]
    assert told["note"] == "1,060 batches since the start. The newest 60 can be shown."
    assert told["fewAgain"] == 11


async def test_the_page_tells_that_the_proxy_does_not_answer_and_recovers() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, look_at(proxy, "losesTheProxy") as look:
            told = await look.end()
    assert "What this page shows is old" in told["lost"]
    assert told["found"] == "Live"


async def test_a_page_that_nobody_sees_asks_nothing() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, look_at(proxy, "isHidden") as look:
            told = await look.end()
    assert told["askedWhileHidden"] == 0
    assert told["askedOnceSeen"] == 1
