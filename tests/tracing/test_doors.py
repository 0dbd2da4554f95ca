"""How tracing is switched on, and how a caller's trace goes through each door."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from autobatcher import BatchOpenAI
from autobatcher.tracing.choice import tracer_of
from tests.harness import Harness
from tests.server.proxies import open_replica
from tests.tracing.recorder import Recorder, parent

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


class Traced(Harness):
    """A harness whose clients are traced."""

    recorder: Recorder

    def client(self, **settings: Any) -> BatchOpenAI:
        return self.recorder.trace(super().client(**settings))


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.real_time
async def test_the_proxy_carries_on_the_trace_of_its_caller_and_sends_it_nowhere() -> None:
    harness = Traced()
    harness.recorder = recorder = Recorder(sampler=ParentBased(ALWAYS_ON))
    try:
        async with open_replica(harness) as proxy, proxy.http() as http:
            for flag in ("01", "00"):
                headers = {"traceparent": f"00-{TRACE:032x}-{SPAN:016x}-{flag}", "tracestate": "vendor=canary"}
                assert (await http.post("/v1/chat/completions", json=CHAT, headers=headers)).status_code == 200
            headers = {"traceparent": "00-nonsense-01"}
            assert (await http.post("/v1/chat/completions", json=CHAT, headers=headers)).status_code == 200
        carried, other = recorder.spans("chat")  # the one that was not sampled by its caller is not told
        assert (parent(carried), carried.context and carried.context.trace_id) == (SPAN, TRACE)
        assert parent(other) is None
        assert [body for body in harness.bodies_sent() if body != CHAT] == []
    finally:
        harness.emulator.close()


def test_tracing_is_off_unless_the_program_has_set_opentelemetry_up() -> None:
    assert tracer_of(None) is None
    assert tracer_of(False) is None
    assert tracer_of(True) is not None


def test_without_opentelemetry_tracing_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(ValueError, match=r"tracing.*pip install .*autobatcher\[otel\]"):
        BatchOpenAI(api_key="k", tracing=True)
    assert BatchOpenAI(api_key="k")


SCRIPT = """
import sys
from autobatcher import BatchOpenAI, BatchOpenAISync
from tests.client.test_sync import ToEmulator, HTTP
from autobatcher.emulator import Emulator

def ask(client):
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])

def client():
    http_client = HTTP.Client(transport=ToEmulator(emulator))
    return BatchOpenAISync(
        api_key="k", base_url="http://upstream.test/v1", provider="openai", http_client=http_client,
        batch_window_seconds=0.01, poll_interval_seconds=0.01,
    )

emulator = Emulator()
with client() as untraced:
    ask(untraced)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with client() as traced, trace.get_tracer("caller").start_as_current_span("caller") as caller:
    ask(traced)
call, = (span for span in exporter.get_finished_spans() if span.name == "chat m")
assert call.parent.span_id == caller.get_span_context().span_id
emulator.close()
"""


@pytest.mark.real_time
def test_a_program_that_sets_opentelemetry_up_is_traced_also_from_threads() -> None:
    """And one that does not never imports it."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
