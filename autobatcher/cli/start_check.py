"""Whether the upstream can work, asked when `serve` and `run` start.

What cannot work ends the command: a key that is refused, a URL without an API, a certificate that is not trusted. What
may pass, such as an outage, is a warning: a proxy that restarts meanwhile goes on with the batches in its journal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from .. import BatchOpenAI
from ..client.server_calls import judge_upstream
from .flags import UsageError
from .output import print_notice
from .signals import StopSignals

CHECK_SECONDS = 5.0
"""How long each of one or two GETs may take. `run` waits for them before it starts the command, `serve` does not."""


async def refuse_hopeless(client: BatchOpenAI, *, command: str, forward_keys: bool = False) -> None:
    """Say in a line what the upstream is like. Raises `UsageError` if it cannot work."""
    judgement = await judge_upstream(client, seconds=CHECK_SECONDS, is_own_key=not forward_keys)
    if judgement.is_hopeless:
        raise UsageError(f"the upstream {judgement.sentence}. --no-check starts all the same.")
    goes_on = "" if judgement.is_good else f" It may work later, so {command} goes on."
    print_notice(f"autobatcher {command}: the upstream {judgement.sentence}.{goes_on}")


async def check_first(client: BatchOpenAI, *, command: str) -> None:
    """The same before a client is open. If it cannot work, its connections are closed."""
    hopeless: UsageError | None = None
    try:
        await refuse_hopeless(client, command=command)
    except UsageError as error:
        hopeless = error
    if hopeless is not None:
        await client.close()
        raise hopeless


async def run_checked(
    check: Callable[[], Awaitable[None]], work: Callable[[StopSignals], Awaitable[None]], signals: StopSignals
) -> None:
    """Run `work(signals)`, with the check beside it: whoever looks for a listening port finds it at once.

    Exceptions of `work` are raised as they are.

    Raises:
        UsageError: of the check. `work` was cancelled.
    """
    refused: list[UsageError] = []
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_check, check, signals, refused, nursery.cancel_scope)
        try:
            await work(signals)
        except Exception as error:
            failure = error  # raised below, outside the nursery, so that it is not wrapped in a group
        nursery.cancel_scope.cancel()
    if refused or failure is not None:
        raise refused[0] if failure is None else failure


async def _check(
    check: Callable[[], Awaitable[None]], signals: StopSignals, refused: list[UsageError], scope: trio.CancelScope
) -> None:
    try:
        await check()
    except UsageError as error:
        if not signals.asked.is_set():  # else the client may be closed, and know nothing
            refused.append(error)
            scope.cancel()
