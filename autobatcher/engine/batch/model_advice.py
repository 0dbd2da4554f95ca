"""Adds to a refusal what may be wrong with the model's name."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from ...upstream.account import Account
from ...upstream.batch_state import BatchState, Problem
from ...upstream.failures import UpstreamError, reason_given
from ...upstream.model_list import ModelList
from ..request import Request

_MODEL_STATUSES = frozenset({400, 403, 404, 422})
"""With which servers refuse models that they do not have."""


async def advise(error: UpstreamError, models: ModelList, account: Account, requests: Iterable[Request]) -> None:
    """Add it to the error of a refused batch."""
    if error.status_code in _MODEL_STATUSES:
        error.advise(await models.advice(account, _models(requests), reason_given(error.body)))


async def with_advice(
    state: BatchState, models: ModelList, account: Account, requests: Iterable[Request]
) -> BatchState:
    """The state of a batch that ended, with advice in those of its problems that speak of a model."""
    if state.status != "failed" or not state.problems:
        return state
    reason = " ".join(f"{problem.message} {problem.code}" for problem in state.problems[:100])
    advice = await models.advice(account, _models(requests), reason)
    return replace(state, problems=tuple(_advised(each, advice) for each in state.problems)) if advice else state


def _advised(problem: Problem, advice: str) -> Problem:
    speaks_of_it = "model" in f"{problem.message} {problem.code}".lower()
    return replace(problem, message=f"{problem.message} {advice}") if speaks_of_it else problem


def _models(requests: Iterable[Request]) -> set[str]:
    return {request.model for request in requests}
