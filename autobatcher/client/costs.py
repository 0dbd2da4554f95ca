"""What a client says of money."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel

from ..engine.journal_url import JournalUrl
from ..engine.request import Answer, Request
from ..engine.spending import Spending
from ..money.ledger import Sort
from ..money.receipt import PricesOf, Receipt, receipt_of
from ..money.usage import Usage


class Costs:
    """The methods of money, for each client."""

    _spending: Spending

    def receipt(self) -> Receipt:
        """What was paid since the client was made, what it would have cost in real time, and what for.

        Also after `close`. Copies of a client share one receipt. Amounts are in USD. Prices come from `prices=`, the
        provider's own notes, and the package genai-prices (`pip install 'autobatcher[money]>=1'`); where none of them
        knows one, it is unknown, and counted as such. Blocks for up to a second when it imports that package.
        """
        return self._spending.receipt()

    def cost_of(self, response: Any) -> Decimal | None:
        """What one answer was billed, in USD; None if its price or its tokens are unknown.

        Args:
            response: what a call returned: the SDK's object, its raw response, or an `Answer`.

        Raises:
            TypeError: for anything else, such as a stream, which does not tell what it cost.
        """
        return self._spending.cost_of(*_read(response))


def pricing_of(client: Costs) -> Callable[[], Receipt]:
    """`Costs.receipt` in two steps: look at what was billed, and price it. The second one may run in another thread.

    With a journal that engines share, the second step reads it, and tells what all of them were billed. It raises
    `JournalError` then.
    """
    place = client._spending.shared_journal
    return client._spending.pricing() if place is None else partial(_of_the_fleet, place, client._spending.prices.at)


def own_pricing_of(client: Costs) -> Callable[[], Receipt] | None:
    """`pricing_of` for what this engine alone was billed; None if that is all that `pricing_of` tells."""
    return None if client._spending.shared_journal is None else client._spending.pricing()


def billed_models(client: Costs) -> Iterator[str]:
    """The models of all that was billed, in the order of the first time; some more than once."""
    return (sort.model for sort, _ in client._spending.ledger)


def _of_the_fleet(place: JournalUrl, prices_of: PricesOf) -> Receipt:
    from ..engine.journal.file import read_journal  # imports sqlite3, which some Pythons lack

    with read_journal(place) as journal:
        paid = journal.paid()
    charges = () if paid is None else paid.charges  # not what runs: it is not billed yet
    return receipt_of([(charge.sort, charge.entry) for charge in charges], prices_of)


class CapLeft(NamedTuple):
    """What is left of `max_cost`, in USD.

    Attributes:
        cap: in words, such as "$5 a day".
        amount: of the cap.
        spent: in the current period.
        reserved: what calls under way may cost.
    """

    cap: str
    amount: Decimal
    spent: Decimal
    reserved: Decimal
    left: Decimal


def cap_left(client: Costs) -> CapLeft | None:
    """What is left of the cap of all calls together; None if there is none."""
    budget = client._spending.caps.budget
    if budget is None:
        return None
    return CapLeft(str(budget.cap), budget.cap.amount, budget.spent_now, budget.reserved_now, budget.left)


def looks_up_prices(client: Costs) -> bool:
    """Whether prices are needed as soon as calls come, on the event loop."""
    return client._spending.looks_up_prices


class Billed(NamedTuple):
    """One answer, priced when that is asked for: it may import a library of prices."""

    spending: Spending
    sort: Sort
    usage: Usage

    def cost(self) -> Decimal | None:
        """What it cost, in USD; None if its price is unknown."""
        return self.spending.cost_in(self.sort, self.usage)

    def __reduce__(self) -> tuple[Any, ...]:
        return Priced, (self.cost(),)


class Priced(NamedTuple):
    """A copy of one in another process, say, where its price is known."""

    amount: Decimal | None

    def cost(self) -> Decimal | None:
        """What it cost."""
        return self.amount


def billed(client: Costs, request: Request | None, outcome: object) -> Billed | None:
    """What an answer was billed; None if it does not tell its tokens, or the outcome is none."""
    if request is None or not isinstance(outcome, Answer):
        return None
    found = client._spending.billed(request, outcome)
    return None if found is None else Billed(client._spending, *found)


def _read(response: Any) -> tuple[bytes, str | None]:
    """The JSON of an answer, and the id of its request. Raises `TypeError` for what has none."""
    request_id = getattr(response, "_request_id", None) or getattr(response, "request_id", None)
    if isinstance(body := getattr(response, "body", None), bytes):  # an `Answer`
        return body, request_id
    http_response, to_json = getattr(response, "http_response", None), getattr(response, "to_json", None)
    content = to_json().encode() if isinstance(response, BaseModel) and to_json else _content(http_response)
    if content is None:
        raise TypeError(
            f"cost_of() takes an answer, such as a ChatCompletion, or its raw response, not {type(response).__name__}. "
            "A stream does not tell what it cost: call without stream=True, or see receipt() for all calls."
        )
    return content, request_id


def _content(http_response: Any) -> bytes | None:
    """The JSON of a raw response of the SDK; None for a stream, and for what is no response."""
    headers = getattr(http_response, "headers", {})
    if http_response is None or headers.get("content-type", "").startswith("text/event-stream"):
        return None
    try:
        content: bytes = http_response.content
    except RuntimeError:  # it is read by the caller, piece by piece
        return None
    return content
