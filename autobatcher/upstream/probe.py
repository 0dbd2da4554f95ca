"""Asks an upstream whether it works, by GETs alone: they create nothing and cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from .account import Account
from .answers import decoded, has_list
from .base_url import advice_after, is_html
from .failures import UpstreamError, reason_given
from .http import UpstreamHTTP

BATCHES, FILES, MODELS = "/batches", "/files", "/models"

_HEARD = ("answered ", "was redirected ")
"""How failures begin that are no failures of the network."""

_PARAMS = {BATCHES: {"limit": "1"}, FILES: {"limit": "1"}, MODELS: {}}


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What one GET was answered with.

    Attributes:
        content: the JSON of a good answer.
        status: of a bad answer; None for a good one, and without any.
        failure: why there is no good answer, in the upstream's words or the network's; None if there is one.
        advice: ours, after a failure; "" for none.
        is_page: whether it was a web page.
        may_pass: whether the same GET may be answered well later.
        was_heard: whether the upstream answered at all.
        seconds: how long it took.
    """

    content: Any = None
    status: int | None = None
    failure: str | None = None
    advice: str = ""
    is_page: bool = False
    may_pass: bool = False
    was_heard: bool = True
    seconds: float = 0.0


async def ask_all(http: UpstreamHTTP, account: Account, paths: Sequence[str], *, seconds: float) -> list[Answered]:
    """Ask for each path, at once. Takes `seconds` at most, and raises nothing but Cancelled."""
    answers: dict[str, Answered] = {}

    async def ask_one(path: str) -> None:
        answers[path] = await ask(http, account, path, seconds=seconds)

    async with anyio.create_task_group() as tasks:
        for path in paths:
            tasks.start_soon(ask_one, path)
    return [answers[path] for path in paths]


async def ask(http: UpstreamHTTP, account: Account, path: str, *, seconds: float) -> Answered:
    """Ask for one path, once. Takes `seconds` at most, and raises nothing but Cancelled."""
    begun, operation = anyio.current_time(), f"GET {path}"
    try:
        content = decoded(
            operation, await http.call(account, "GET", path, seconds=seconds, params=_PARAMS[path] or None)
        )
    except UpstreamError as error:
        return _failed(error, operation, account.base_url, anyio.current_time() - begun)
    seconds_taken = anyio.current_time() - begun
    if not has_list(content):
        return Answered(failure="answered no list", may_pass=True, seconds=seconds_taken)
    return Answered(content=content, seconds=seconds_taken)


def _failed(error: UpstreamError, operation: str, base_url: str, seconds: float) -> Answered:
    words = _words(error, operation)
    advice = error.advice or (advice_after(None, error.body, base_url) if error.status_code is None else "")
    return Answered(
        status=error.status_code,
        failure=words,
        advice=advice,
        is_page=is_html(error.body),
        may_pass=error.is_retryable,
        was_heard=error.status_code is not None or words.startswith(_HEARD),
        seconds=seconds,
    )


def _words(error: UpstreamError, operation: str) -> str:
    """The reason alone: "401: invalid api key", "ConnectError (all attempts failed)"."""
    if error.status_code is not None:
        return f"{error.status_code}: {reason_given(error.body)}"
    return str(error).removesuffix(f". {error.advice}").removeprefix(operation).lstrip(": ")
