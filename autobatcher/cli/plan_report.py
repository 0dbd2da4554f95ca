"""What `autobatcher plan` prints: a plan, and what is wrong with the file. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from rich.text import Text

from ..money.estimate import Estimate
from ..money.quote import LIST_PRICE, Cost, Offer
from ..money.receipt_text import dollars
from ..planning import Plan, PlannedCost, PlannedKind
from .table_layout import Column
from .text_table import text_table
from .wrapping import wrapped

MOST_NAMED = 20
"""How many bad lines are named. Files without any good line may have millions."""


_MODELS = (
    Column("model", cut="middle", least=16),
    Column("endpoint", least=20, leaves=1),
    Column("requests", cut="never"),
    Column("tokens in", cut="never"),
    Column("tokens out", cut="never"),
)
_TOKENS = tuple(Column(heading, cut="never") for heading in ("tokens", "expected", "eight in ten"))
_COSTS = (
    Column("lane", cut="never"),
    Column("expected", cut="never"),
    Column("eight in ten", cut="never", leaves=2),
    Column("saving", cut="never", leaves=3),
    Column("priced", cut="never", leaves=1),
)


class BadLines:
    """Lines that no batch can hold: all are counted, the first ones are named."""

    def __init__(self) -> None:
        self.count: int = 0
        self.named: list[tuple[int, str]] = []

    def add(self, number: int, reason: str) -> None:
        """Add the line of that number, from 1."""
        self.count += 1
        if len(self.named) < MOST_NAMED:
            self.named.append((number, reason))


class Unpriced(NamedTuple):
    """Requests without a price at some offers."""

    model: str
    requests: int
    offers: str
    reason: str


def plan_text(plan: Plan, bad_lines: BadLines, *, room: int | None = None) -> Text:
    """The plan for people, so many columns wide."""
    parts = [Text(_head(plan) + "\n")]
    if plan.requests:
        parts += [Text("\n"), _models(plan, room), Text("\n"), cost_text(plan, room=room)]
    return Text("").join([*parts, *_named("bad lines", _bad(bad_lines), room)])


def cost_text(plan: Plan, *, room: int | None = None) -> Text:
    """The tokens and the cost of a plan, and what is unknown of them."""
    parts = [_tokens(plan.estimate, room), Text("\n"), _costs(plan, room)]
    return Text("").join([*parts, *_named("unknown", _unknown(plan), room)])


def _named(heading: str, items: Iterator[str], room: int | None) -> Iterator[Text]:
    lines = (line for item in items for line in wrapped(item, None if room is None else room - 2))
    if text := "".join(f"  {line}\n" for line in lines):
        yield Text.assemble((f"\n{heading}\n", "bold"), text)


def _head(plan: Plan) -> str:
    requests = f"{plan.requests:,} request{'' if plan.requests == 1 else 's'}"
    return f"{requests}, {plan.batches:,} batch{'' if plan.batches == 1 else 'es'}"


def _models(plan: Plan, room: int | None) -> Text:
    rows = []
    for kind in plan.kinds.values():
        expected = kind.estimate.expected
        rows.append(
            (kind.model or "-", kind.endpoint, f"{kind.requests:,}", f"{expected.input:,}", f"{expected.output:,}")
        )
    return text_table(_MODELS, rows, room=room)


def _tokens(estimate: Estimate, room: int | None) -> Text:
    expected, low, high = estimate.expected, estimate.low, estimate.high
    rows = [
        ("in", f"{expected.input:,}", f"{low.input:,} to {high.input:,}"),
        ("out", f"{expected.output:,}", f"{low.output:,} to {high.output:,}"),
    ]
    return text_table(_TOKENS, rows, room=room)


def _costs(plan: Plan, room: int | None) -> Text:
    rows = [(str(offer), *_cost_cells(plan, plan.cost(offer))) for offer in plan.offers]
    return text_table(_COSTS, rows, room=room)


def _cost_cells(plan: Plan, planned: PlannedCost) -> tuple[str, ...]:
    if not planned.priced:
        return ("unknown", "-", "-", f"0 of {plan.requests:,}")
    cost = planned.cost
    band = f"{dollars(cost.low)} to {dollars(cost.high)}"
    priced = "all" if planned.priced == plan.requests else f"{planned.priced:,} of {plan.requests:,}"
    return dollars(cost.expected), band, _saving(planned), priced


def _saving(planned: PlannedCost) -> str:
    saved = saving_of(planned)
    if saved is None or planned.list_price is None or not planned.list_price.expected:
        return "-"
    return f"{dollars(saved)} ({saved / planned.list_price.expected:.0%})" if saved else "-"


def saving_of(planned: PlannedCost) -> Decimal | None:
    """What is saved against the list price, in USD; None if that is unknown."""
    return None if planned.list_price is None else planned.list_price.expected - planned.compared.expected


def _unknown(plan: Plan) -> Iterator[str]:
    for each in _unpriced(plan):
        yield f"no price for {each.requests:,} x {each.model} ({each.offers}): {each.reason}"
    for what, requests in _uncounted(plan).items():
        yield f"{what}, in {requests:,} requests: its tokens are not counted"


def _unpriced(plan: Plan) -> Iterator[Unpriced]:
    """One for each model and reason."""
    found: dict[tuple[str, str, str], tuple[PlannedKind, list[str]]] = {}
    for offer in plan.offers:
        for kind, reason in plan.unknown_prices(offer):
            found.setdefault((kind.model, kind.endpoint, reason), (kind, []))[1].append(str(offer))
    for (model, endpoint, reason), (kind, offers) in found.items():
        yield Unpriced(model or endpoint, kind.requests, ", ".join(offers), reason)


def _uncounted(plan: Plan) -> Counter[str]:
    whole: Counter[str] = Counter()
    for kind in plan.kinds.values():
        whole.update(kind.unknown)
    return whole


def _bad(bad_lines: BadLines) -> Iterator[str]:
    for number, reason in bad_lines.named:
        yield f"line {number:,}: {reason}"
    if bad_lines.count > len(bad_lines.named):
        yield f"and {bad_lines.count - len(bad_lines.named):,} more"


def plan_fields(plan: Plan, bad_lines: BadLines) -> dict[str, Any]:
    """The plan as JSON. Amounts are text, in USD."""
    return {
        "requests": plan.requests,
        "batches": plan.batches,
        "tokens": _token_fields(plan.estimate),
        "uncounted": dict(_uncounted(plan)),
        "costs": [_cost_fields(offer, plan.cost(offer)) for offer in plan.offers],
        "unknown_prices": [
            {**_offer_fields(offer), "model": kind.model, "endpoint": kind.endpoint, "reason": reason}
            for offer in plan.offers
            for kind, reason in plan.unknown_prices(offer)
        ],
        "models": [_kind_fields(plan, kind) for kind in plan.kinds.values()],
        "bad_lines": {
            "count": bad_lines.count,
            "first": [{"line": number, "reason": reason} for number, reason in bad_lines.named],
        },
    }


def _kind_fields(plan: Plan, kind: PlannedKind) -> dict[str, Any]:
    return {
        "model": kind.model,
        "endpoint": kind.endpoint,
        "requests": kind.requests,
        "tokens": _token_fields(kind.estimate),
        "costs": [_cost_fields(offer, plan.cost_of_kind(kind, offer)) for offer in plan.offers],
    }


def _token_fields(estimate: Estimate) -> dict[str, Any]:
    expected, low, high = estimate.expected, estimate.low, estimate.high
    return {
        "input": {"expected": expected.input, "low": low.input, "high": high.input},
        "output": {"expected": expected.output, "low": low.output, "high": high.output},
    }


def _cost_fields(offer: Offer, planned: PlannedCost) -> dict[str, Any]:
    saving = None if offer == LIST_PRICE else saving_of(planned)
    return {
        **_offer_fields(offer),
        "priced_requests": planned.priced,
        "usd": _usd_fields(planned.cost) if planned.priced else None,
        "list_price_usd": _usd_fields(planned.list_price) if planned.list_price is not None else None,
        "saving_usd": _usd(saving) if saving is not None else None,
    }


def _offer_fields(offer: Offer) -> dict[str, str | None]:
    return {"lane": offer.lane, "completion_window": offer.completion_window}


def _usd_fields(cost: Cost) -> dict[str, str]:
    return {"expected": _usd(cost.expected), "low": _usd(cost.low), "high": _usd(cost.high)}


def _usd(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
