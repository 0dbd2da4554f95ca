"""What a provider states of a batch that has ended, where the batch object does not have it."""

from __future__ import annotations

import logging

import anyio
import msgspec

from ...upstream.account import Account
from ...upstream.batch_state import BatchState
from ...upstream.failures import UpstreamError
from .engine import Engine

logger: logging.Logger = logging.getLogger("autobatcher")

HEAR_SECONDS = 15.0
"""How long it may take, with the wait for a turn among the polls."""


async def with_statement(state: BatchState, account: Account, engine: Engine) -> BatchState:
    """The state with what the provider bills for the batch, if it says so. One call; if it fails, nothing is known.

    Cancelled: nothing was changed anywhere.
    """
    if not account.provider.has_analytics or state.tokens is not None or not state.is_terminal:
        return state
    tokens = None
    with anyio.move_on_after(HEAR_SECONDS):
        try:
            async with engine.polls.turn(account):
                tokens = await engine.api.analytics.tokens(account, state)
        except UpstreamError as error:
            logger.info("autobatcher: the analytics of batch %s: %s", state.id, error.summary)
    return msgspec.structs.replace(state, tokens=tokens)
