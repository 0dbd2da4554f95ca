"""inspect-ai takes an HTTP client as an argument of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .quick import batches, framework, quick_http_client

inspect_ai = framework("inspect_ai", INSPECT_DISPLAY="none", XDG_DATA_HOME="{scratch}")
dataset: Any = framework("inspect_ai.dataset")
model: Any = framework("inspect_ai.model")
scorer: Any = framework("inspect_ai.scorer")
solver: Any = framework("inspect_ai.solver")

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.filterwarnings("ignore"),  # inspect-ai's own
]

QUESTIONS = [f"question {number}" for number in range(30)]  # more than inspect sends at once by itself


def batched_model(http_client: Any, **settings: Any) -> Any:
    """A model of inspect's openai provider whose calls go through `http_client`."""
    return model.get_model("openai/gpt-4o-mini", api_key="key", http_client=http_client, memoize=False, **settings)


@pytest.mark.parametrize("responses_api", [False, True], ids=["chat", "responses"])
@pytest.mark.proves("frameworks", "inspect-ai: eval_async, responses_api={responses_api}")
async def test_an_evaluation_travels_as_one_batch(responses_api: bool, tmp_path: Path) -> None:
    task = inspect_ai.Task(
        dataset=[dataset.Sample(input=question, target=question) for question in QUESTIONS],
        solver=solver.generate(),
        scorer=scorer.match(),
    )
    async with quick_http_client() as (harness, http_client):
        batched = batched_model(http_client, responses_api=responses_api)
        (log,) = await inspect_ai.eval_async(
            task, model=batched, max_connections=1000, max_samples=1000, log_dir=str(tmp_path)
        )
        assert log.status == "success", log.error
        assert [sample.output.completion for sample in log.samples] == QUESTIONS
        assert log.results.scores[0].metrics["accuracy"].value == 1
        assert batches(harness) == [30]
