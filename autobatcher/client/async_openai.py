"""`AsyncOpenAI`: the name by which autobatcher 0.9 to 0.12 had its client."""

from __future__ import annotations

from typing import Any

import openai

from ..engine.settings import Settings
from .arguments import AsyncOpenAIArguments, takes
from .openai import BatchOpenAI


class AsyncOpenAI(BatchOpenAI):
    """`BatchOpenAI` with a completion window of 1 hour, by the name that it has had since version 0.9."""

    @takes(AsyncOpenAIArguments, passes_to=openai.AsyncOpenAI.__init__)
    def __init__(self, settings: Settings, *, _engine: Any = None, _upstream: Any = None, **arguments: Any) -> None:
        init: Any = BatchOpenAI.__init__
        init.__wrapped__(self, settings, _engine=_engine, _upstream=_upstream, **arguments)
