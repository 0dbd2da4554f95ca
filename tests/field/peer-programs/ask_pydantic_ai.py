"""pydantic-ai's `BatchModelRequests`. What a later run needs, its runs leave in files, as its documents show."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from importlib import import_module
from typing import Any

from callers import WINDOW_SECONDS, Job, Told, ask_each, main

pydantic_ai: Any = import_module("pydantic_ai")
openai_models: Any = import_module("pydantic_ai.models.openai")


async def ask_all(job: Job, told: Told) -> None:
    poll = timedelta(seconds=job.poll_seconds)
    batching = import_module("pydantic_ai.capabilities").BatchModelRequests(
        max_wait=timedelta(seconds=WINDOW_SECONDS), poll_interval=poll, max_poll_interval=poll * 2
    )
    provider = import_module("pydantic_ai.providers.openai").OpenAIProvider(base_url=job.base_url, api_key="any")
    output = [str, pydantic_ai.PendingModelResponse] if job.ends == "killed" or job.file("run-0").exists() else str
    agents = {
        model: pydantic_ai.Agent(
            openai_models.OpenAIResponsesModel(model, provider=provider), output_type=output, capabilities=[batching]
        )
        for model, _ in job.prompts
    }
    numbers = {text: number for number, (_, text) in enumerate(job.prompts)}

    async def ask(model: str, text: str) -> str:
        kept = job.file(f"run-{numbers[text]}")
        history = pydantic_ai.ModelMessagesTypeAdapter.validate_json(kept.read_bytes()) if kept.exists() else None
        result = await agents[model].run(None if history else text, message_history=history)
        while isinstance(result.output, pydantic_ai.PendingModelResponse):
            kept.write_bytes(result.all_messages_json())
            await asyncio.sleep(job.poll_seconds)
            result = await agents[model].run(message_history=result.all_messages())
        return str(result.output)

    async with batching:
        await ask_each(job, told, ask)


main("pydantic-ai-slim", ask_all)
