"""The demo's pure parts: its calls, its plans, what is shown of its progress, and what it adds up to."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from autobatcher import events
from autobatcher.cli.demo import EMULATED_REQUESTS, EXAMPLE_PRICES, summarise
from autobatcher.cli.demo_plan import emulated_plan, possible_kinds, real_plan
from autobatcher.cli.demo_run import run_demo
from autobatcher.cli.flags import Dialect, UsageError
from autobatcher.cli.live_status import Screen, plain_line
from autobatcher.cli.price_flags import flat_prices
from autobatcher.cli.summary import Summary, summary_rows, summary_text
from autobatcher.cli.workload import Models, count_kinds, mixed_calls
from autobatcher.money.ledger import Fate, Ledger, Sort
from autobatcher.money.price_list import PriceList
from autobatcher.money.receipt import receipt_of
from autobatcher.money.usage import Usage
from autobatcher.progress import Progress
from autobatcher.upstream.providers import DOUBLEWORD, GROQ


def event(kind: type[Any], batch_id: str = "b1", completed: int = 0, failed: int = 0, **fields: Any) -> Any:
    """An event of one batch of ten requests."""
    if kind is not events.BatchSubmitted:
        fields["counts"] = events.RequestCounts(completed=completed, failed=failed, total=10)
        fields["elapsed_seconds"] = 3.0
    return kind(
        ts=0.0,
        batch_id=batch_id,
        endpoint="/v1/embeddings",
        input_file_id="f",
        request_count=10,
        models=["m"],
        completion_window="24h",
        metadata={},
        **fields,
    )


# The calls


def test_the_calls_are_mixed_distinct_and_always_the_same() -> None:
    calls = mixed_calls(300)
    assert count_kinds(calls) == "150 chat, 90 embedding, 60 response"
    assert len({call.text for call in calls}) == 300
    assert calls == mixed_calls(300)
    assert len({call.kind for call in calls[:4]}) == 3


def test_a_provider_is_sent_only_what_it_has_batches_and_we_have_models_for() -> None:
    assert possible_kinds(DOUBLEWORD, has_embedding_model=True) == ["chat", "embedding", "response"]
    assert possible_kinds(DOUBLEWORD, has_embedding_model=False) == ["chat", "response"]
    assert possible_kinds(GROQ, has_embedding_model=True) == ["chat"]
    assert count_kinds(mixed_calls(7, ["chat"])) == "7 chat"


# The plans


def test_what_the_user_chose_wins_over_the_demos_defaults() -> None:
    plan = emulated_plan(300, "openai", 1.0, Models("c", "e"), {"batch_size": 7})
    assert (plan.client["batch_size"], plan.client["batch_window_seconds"]) == (7, 1.0)
    assert plan.client["provider"] == "openai"


def test_a_real_plan_chooses_the_provider_by_the_host_and_shows_nothing_secret_of_the_url() -> None:
    plan = real_plan(5, "https://user:pw@api.doubleword.ai/v1", "k", None, "m", None, {})
    assert plan.client["provider"] is DOUBLEWORD
    assert plan.upstream == "api.doubleword.ai"
    assert plan.like is None
    with pytest.raises(UsageError, match="--model is missing"):
        real_plan(5, "https://api.doubleword.ai/v1", "k", None, None, None, {})


# Progress


def test_progress_is_folded_from_events() -> None:
    progress = Progress(10)
    progress.take(event(events.BatchSubmitted), 1.0)
    progress.take(event(events.BatchProgress, completed=3, failed=1, status="in_progress"), 2.0)
    batch = progress.batches["b1"]
    assert (batch.number, batch.total, batch.done, batch.failed, batch.ended) == (1, 10, 4, 1, None)
    progress.take(event(events.BatchTerminal, completed=5, status="expired"), 3.0)
    assert (batch.status, batch.done, batch.ended) == ("expired", 5, 3.0)


def test_an_event_of_an_unknown_batch_is_survived() -> None:
    assert Progress(10).take(event(events.BatchCompleted, completed=10), 1.0) is None


def test_answers_and_failures_add_up() -> None:
    progress = Progress(3)
    progress.answer(10, 5)
    progress.answer(1, 0)
    progress.fail(ValueError("bad " * 100))
    assert (progress.answered, progress.failed) == (2, 1)
    assert (progress.input_tokens, progress.output_tokens) == (11, 5)
    ((message, count),) = progress.errors.items()
    assert count == 1
    assert message.startswith("ValueError: bad bad")
    assert len(message) < 250


def test_plain_lines_tell_each_quarter_once() -> None:
    progress = Progress(10)
    told = [event(events.BatchSubmitted)]
    told += [event(events.BatchProgress, completed=done, status="in_progress") for done in range(11)]
    told += [event(events.BatchProgress, completed=10, status="completed")]
    told += [event(events.BatchCompleted, completed=9, failed=1)]
    lines = [plain_line(each, progress.take(each, 0.0)) for each in told]
    assert [line for line in lines if line] == [
        "batch 1: submitted, 10 requests (b1)",
        "batch 1: in progress, 0 of 10 done",
        "batch 1: in progress, 3 of 10 done",
        "batch 1: in progress, 5 of 10 done",
        "batch 1: in progress, 8 of 10 done",
        "batch 1: in progress, 10 of 10 done",
        "batch 1: completed after 3.0 s, 10 of 10 done, 1 of them failed",
    ]


def test_a_batch_that_could_not_be_cancelled_is_told_and_named() -> None:
    failed = events.BatchCancelFailed(ts=0.0, batch_id="b7", endpoint="/v1/responses", metadata={}, error="timed out")
    progress = Progress(10)
    line = plain_line(failed, progress.take(failed, 0.0)) or ""
    assert "b7" in line
    assert "may still run and cost" in line
    assert progress.cancelled_batches == 0


# The table


def test_a_real_provider_without_a_price_has_no_cost_lines_that_mislead() -> None:
    table = dict(summary_rows(Summary("here", 3, 3, 0, 1, 15, 20, 12.34)))
    assert (table["cost singly"], table["cost as batches"]) == ("unknown", "unknown")
    assert "at example prices" not in table


def test_the_table_is_aligned_and_labels_its_prices_as_examples() -> None:
    ledger, prices = Ledger(), PriceList(DOUBLEWORD, "http://x.test/v1", flat_prices(1.0, 4.0, 0.25))
    sort = Sort("doubleword", "http://x.test/v1", "m", "/v1/responses", "batch", "24h", Fate.DELIVERED)
    ledger.add(sort, Usage(input=1_500_000, output=2_000), requests=2_999)
    receipt = receipt_of(ledger, lambda *_: prices)
    summary = Summary("here", 3000, 2999, 1, 4, 1_500_000, 2_000, 12.34, receipt=receipt, prices="$1.00 per million")
    table = dict(summary_rows(summary))
    assert table["requests"] == "3,000"
    assert table["failed"] == "1"
    assert table["wall time"] == "12.3 s"
    assert (table["cost singly"], table["cost as batches"]) == ("$1.51", "$1.13")
    assert table["at example prices"].startswith("$1.00 per million")
    lines = summary_text(list(table.items())).plain.splitlines()
    assert len({line.index(value) for line, value in zip(lines, table.values(), strict=True)}) == 1


@pytest.mark.parametrize("like", ["openai", "doubleword"])
def test_with_a_deadline_the_slow_batch_is_cut_off_and_its_lines_go_to_the_flex_lane(like: Dialect) -> None:
    told = Console(record=True, file=io.StringIO(), width=200)
    plan = emulated_plan(20, like, 3.0, Models("c", "e"), {"deadline": 30.0, "prices": flat_prices(1, 4, 0.5)})
    outcome = trio.run(run_demo, plan, Screen(told, is_live=False), clock=MockClock(autojump_threshold=0))
    assert (outcome.progress.answered, outcome.progress.failed) == (20, 0)
    assert outcome.progress.escalated == outcome.lanes["flex"] > 0
    assert outcome.lanes.keys() == {"batch", "flex"}
    assert Counter([row.lane for row in outcome.receipt.rows for _ in range(row.requests)]) == outcome.lanes
    assert outcome.receipt.total.list_price == 2 * outcome.receipt.total.cost > 0
    assert outcome.seconds < 40
    assert "requests went on from the batch lane to flex" in told.export_text()
    table = dict(summary_rows(summarise(plan, outcome)))
    assert table["escalated"] == str(outcome.lanes["flex"])
    assert table["billed"] == f"{outcome.lanes['batch']} batch, {outcome.lanes['flex']} flex"


def test_the_readme_says_what_the_demo_costs() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- output: demo -->\n(.*?)\n\n", readme, flags=re.DOTALL)
    shown = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", table, flags=re.MULTILINE))
    plan = emulated_plan(
        EMULATED_REQUESTS, "doubleword", 3.0, Models("c", "e"), {"prices": flat_prices(*EXAMPLE_PRICES, 0.5)}
    )
    screen = Screen(Console(file=io.StringIO()), is_live=False)
    outcome = trio.run(run_demo, plan, screen, clock=MockClock(autojump_threshold=0))
    table = dict(summary_rows(summarise(plan, outcome, shown["example prices"])))
    assert shown == {
        "requests, batches": f"{table['requests']}, {table['batches']}",
        "tokens in, out": f"{table['tokens in']}, {table['tokens out']}",
        "at list price": table["cost singly"],
        "at batch price": table["cost as batches"],
        "example prices": table["at example prices"],
    }
