"""`client.estimate`: the tokens and the cost of one call, before it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import to_thread

from .call_estimate import CallEstimate

if TYPE_CHECKING:
    from .estimates import Estimator  # imported at run time only if used


class EstimatesCalls:
    """Base of `BatchOpenAI`."""

    _engine: Any
    _call: Any

    async def estimate(self, *, endpoint: str | None = None, **arguments: Any) -> CallEstimate:
        """Estimate the tokens and the cost of one call. Nothing is sent.

            estimate = await client.estimate(model="gpt-4o-mini", messages=[...])
            print(estimate.tokens.expected, estimate.cost, estimate.list_price)

        Args:
            endpoint: such as "/v1/embeddings". Without it `messages` mean chat completions, `prompt` means completions,
                and `input` means responses: say "/v1/embeddings" for embeddings.
            **arguments: those of `create`.

        Raises:
            UnbatchableRequestError: as the call itself would: it names no model, or its provider does not take it.
            TypeError: if the arguments tell no endpoint, or are nothing that JSON can hold.

        Cancelled: nothing was begun.
        """
        engine: Any = self._engine
        call = self._call()
        await to_thread.run_sync(engine.spending.prices.of(call.account).warm)  # the first time that imports a library
        return _estimator_of(engine).estimate(call.account, endpoint, arguments)


class EstimatesCallsSync:
    """Base of `BatchOpenAISync`."""

    _engine: Any
    _call: Any

    def estimate(self, *, endpoint: str | None = None, **arguments: Any) -> CallEstimate:
        """Estimate the tokens and the cost of one call; see `BatchOpenAI.estimate`."""
        return _estimator_of(self._engine).estimate(self._call().account, endpoint, arguments)


def _estimator_of(engine: Any) -> Estimator:
    from .estimates import Estimator

    return Estimator(engine.settings, engine.spending)
