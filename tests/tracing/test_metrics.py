"""The conventions' histograms, as OpenTelemetry gets them."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from autobatcher.emulator import FaultPlan, LineFault
from autobatcher.tracing.metrics import MOST_MODELS, OTHER, Metrics
from tests.harness import MODEL, ask, open_harness, outcome_of
from tests.tracing.recorder import Recorder

DURATION, TOKENS = "gen_ai.client.operation.duration", "gen_ai.client.token.usage"
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": MODEL,
    "server.address": "upstream.test",
    "server.port": 80,
}
ANSWER = {"gen_ai.response.model": MODEL}


async def test_the_duration_of_each_call_is_recorded_in_the_conventions_buckets() -> None:
    recorder = Recorder()
    async with open_harness(batch_seconds=100) as harness, recorder.trace(harness.client()) as client:
        await ask(client, "x")
    (point,) = recorder.points(DURATION)
    assert point.attributes == CALL | ANSWER
    assert 100 <= point.sum < 200
    assert point.explicit_bounds == (*(0.01 * 2**power for power in range(14)),)


async def test_the_tokens_of_each_answer_are_recorded_by_kind() -> None:
    recorder = Recorder()
    async with open_harness() as harness, recorder.trace(harness.client()) as client:
        completion = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    assert completion.usage is not None
    points = recorder.points(TOKENS)
    assert [(point.attributes, point.sum) for point in points] == [
        (CALL | ANSWER | {"gen_ai.token.type": "input"}, completion.usage.prompt_tokens),
        (CALL | ANSWER | {"gen_ai.token.type": "output"}, completion.usage.completion_tokens),
    ]
    assert points[0].explicit_bounds == (*(4**power for power in range(14)),)


async def test_a_call_that_fails_has_a_duration_with_its_error_and_no_tokens() -> None:
    recorder = Recorder()
    plan = FaultPlan((LineFault(kind="fail", status=400),))
    async with open_harness(faults=plan) as harness, recorder.trace(harness.client()) as client:
        await outcome_of(ask(client, "x"))
    assert [point.attributes for point in recorder.points(DURATION)] == [CALL | {"error.type": "400"}]
    assert recorder.points(TOKENS) == []


def test_strangers_cannot_make_any_number_of_series() -> None:
    reader = InMemoryMetricReader()
    metrics = Metrics(MeterProvider([reader], shutdown_on_exit=False).get_meter("test"))
    for number in range(2 * MOST_MODELS):
        metrics.record({"gen_ai.request.model": f"m{number}", "gen_ai.response.model": f"m{number}"}, 1.0, None, None)
    found = reader.get_metrics_data()
    assert found is not None
    (metric,) = found.resource_metrics[0].scope_metrics[0].metrics
    models = {(point.attributes or {})["gen_ai.request.model"] for point in metric.data.data_points}
    assert len(models) == MOST_MODELS + 1
    assert OTHER in models
