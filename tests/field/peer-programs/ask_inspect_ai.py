"""inspect-ai's batch mode: an evaluation with a sample for each caller, which goes on when some fail."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any

from callers import LEAVING_SECONDS, WINDOW_SECONDS, Job, Told, main

os.environ["INSPECT_DISPLAY"] = "none"
inspect_ai: Any = import_module("inspect_ai")
dataset: Any = import_module("inspect_ai.dataset")
models: Any = import_module("inspect_ai.model")
solvers: Any = import_module("inspect_ai.solver")


async def ask_all(job: Job, told: Told) -> None:
    everybody_knows = asyncio.Event()  # an evaluation may hang then
    batch = models.BatchConfig(size=1000, send_delay=WINDOW_SECONDS, tick=job.poll_seconds)
    config = models.GenerateConfig(batch=batch, max_connections=1000)
    tasks = [
        inspect_ai.Task(
            dataset=[dataset.Sample(input=text) for model, text in job.prompts if model == name],
            solver=noted(told, len(job.prompts), everybody_knows),
            model=models.get_model(f"openai/{name}", base_url=job.base_url, api_key="any", config=config),
            config=config,
        )
        for name in dict.fromkeys(model for model, _ in job.prompts)
    ]
    going_on = {"fail_on_error": False, "max_samples": 1000, "max_tasks": len(tasks)}
    evaluation = inspect_ai.eval_async(tasks, **going_on, log_dir=str(job.file("logs")))
    told.callers = [asyncio.create_task(evaluation)]
    first = [*told.callers, asyncio.create_task(everybody_knows.wait())]
    await asyncio.wait(first, timeout=job.limit_seconds, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait(told.callers, timeout=LEAVING_SECONDS if everybody_knows.is_set() else 0)
    if job.ends == "cancelled":
        await asyncio.sleep(1.0)


@solvers.solver  # type: ignore[untyped-decorator]
def noted(told: Told, callers: int, everybody_knows: asyncio.Event) -> Any:
    """Inspect's own `generate`, and a note of what came of it."""

    async def solve(state: Any, generate: Any) -> Any:
        asked = state.input_text
        try:
            state = await generate(state)
            told.answers[asked] = str(state.output.completion)
        except Exception as error:
            told.errors[asked] = f"{type(error).__name__}: {error}"
            raise
        finally:
            if len(told.answers) + len(told.errors) == callers:
                everybody_knows.set()
        return state

    return solve


main("inspect-ai", ask_all)
