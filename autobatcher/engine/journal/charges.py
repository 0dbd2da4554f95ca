"""What was billed, in the journal: its statements. Synchronous; for one thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from ...money.ledger import Charge, Entry, Fate, Sort
from ...money.price_list import BATCH
from ...money.usage import Usage
from ..digest import digest_of_parts

HOUR = 3600.0

MAX_NAME = 1_000
"""The longest text that is kept, in characters."""

KEPT_SECONDS = 400 * 86_400.0
"""How long charges are kept: a year, and a month to look at it."""


class NewCharge(NamedTuple):
    """A charge of a batch, or of a call on another lane, with its idempotency key.

    Attributes:
        number: of the line whose answer is paid with it, if that is stored with it.
    """

    idempotency_key: str
    charge: Charge
    number: int | None = None


class KeptCharge(NamedTuple):
    """Charges of one sort in one hour.

    Attributes:
        hour: since 1970, in UTC.
        metadata: of the batch, as JSON.
        account: the fingerprint of who paid; b"" if the batch was forgotten before.
    """

    hour: int
    budget: str
    metadata: str
    account: bytes
    sort: Sort
    entry: Entry


class Payer(NamedTuple):
    """Who pays for a batch or a call. Its own budget counts, whoever reads its results."""

    budget: str
    metadata: str
    account: bytes


def add_charges(db: sqlite3.Connection, charges: Iterable[NewCharge], *, budget: str, now: float) -> None:
    """Add what was billed. What is alike becomes one row: of one batch and hour; of all calls in one hour."""
    db.executemany(_ADD, list(charge_rows(charges, lambda key: _payer_of(db, key, budget), now=now)))


def _payer_of(db: sqlite3.Connection, idempotency_key: str, budget: str) -> Payer:
    return Payer(*db.execute(_PAYER, (budget, idempotency_key)).fetchone())


def charge_rows(
    charges: Iterable[NewCharge], payer_of: Callable[[str], Payer], *, now: float
) -> Iterator[tuple[Any, ...]]:
    """Yield the key of each row that these charges become, and its values for `COLUMNS`. Pure."""
    payers: dict[str, Payer] = {}
    alike: dict[tuple[Payer, str, str, Sort], Entry] = {}
    for key, charge, _ in charges:
        payer = payers.get(key) or payers.setdefault(key, payer_of(key))
        stamp = key if charge.sort.lane == BATCH else _stamp_of_calls(payer, charge.sort)
        entry = alike.setdefault((payer, stamp, charge.batch_id, charge.sort), Entry())
        entry.add(charge.usage, charge.batch_id, charge.requests)
    hour = int(now // HOUR)
    for (payer, stamp, batch_id, sort), entry in alike.items():
        yield stamp, hour, payer.budget, fit(batch_id), payer.metadata, payer.account, *_sort_row(sort), *_counts(entry)


def _stamp_of_calls(payer: Payer, sort: Sort) -> str:
    """One for all calls that are paid alike: a server makes millions, and each has a key of its own."""
    texts = (payer.budget, payer.metadata, sort.provider, sort.base_url)
    return "calls-" + digest_of_parts(payer.account, *(fit(text).encode() for text in texts)).hex()


def kept_charges(db: sqlite3.Connection, *, since: float = 0.0, budget: str | None = None) -> Iterator[KeptCharge]:
    """Yield what was billed, the oldest first.

    Args:
        since: in Unix seconds; what its hour brought before it counts, too.
        budget: only of that one; None for all.
    """
    of_budget = "" if budget is None else "AND budget = ?"
    statement = f"SELECT {_columns_of(db)} FROM charges WHERE hour >= ? {of_budget} ORDER BY hour, id"  # noqa: S608
    for row in db.execute(statement, (int(since // HOUR), *([] if budget is None else [budget]))):
        yield kept_charge_of(row)


def kept_charge_of(row: Sequence[Any]) -> KeptCharge:
    """Make it of a row's values for `COLUMNS`."""
    hour, name, batch_id, metadata, account = row[:5]
    sort, (requests, untold, *tokens) = sort_of(row[5:13]), row[13:]
    entry = Entry(requests, Usage(*tokens), untold, {batch_id: None} if batch_id else {})
    return KeptCharge(hour, name, metadata, account, sort, entry)


def _columns_of(db: sqlite3.Connection) -> str:
    """The columns of a charge. A file that is only read may be older than the last of them."""
    known = {name for _, name, *_ in db.execute("PRAGMA table_info(charges)")}
    return ", ".join(name if name in known else f"0 AS {name}" for name in COLUMNS)


def has_charges(db: sqlite3.Connection) -> bool:
    """Whether the file keeps what was billed. Older ones did not, and are read as they are."""
    found = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'charges'").fetchone()
    return found is not None


class Spent(NamedTuple):
    """What counts against a budget.

    Attributes:
        charges: what was billed, by account, hour and sort.
        reserved: what batches may cost that are not over, in USD, by idempotency key.
    """

    charges: dict[tuple[bytes, int, Sort], Entry]
    reserved: dict[str, Decimal]


def spent_since(db: sqlite3.Connection, since: float, budget: str) -> Spent:
    """What counts against a budget in a period that began at `since`, in Unix seconds."""
    sums = db.execute(_SUM, (int(since // HOUR), budget))
    return spent_of(sums, db.execute("SELECT stamp, amount FROM reservations WHERE budget = ?", (budget,)))


def spent_of(sums: Iterable[Sequence[Any]], reservations: Iterable[tuple[str, str]]) -> Spent:
    """Make it of rows: account, hour, `SORT` and sums of `COUNTS`; idempotency keys and amounts."""
    charges: dict[tuple[bytes, int, Sort], Entry] = {}
    for account, hour, *row in sums:
        charges[account, hour, sort_of(row[:8])] = Entry(row[8], Usage(*row[10:]), row[9])
    return Spent(charges, {idempotency_key: Decimal(amount) for idempotency_key, amount in reservations})


def forget_old_charges(db: sqlite3.Connection, *, now: float) -> None:
    """Delete charges that are too old."""
    db.execute("DELETE FROM charges WHERE hour < ?", (first_kept_hour(now),))


def first_kept_hour(now: float) -> int:
    """The hour before which charges are too old to be kept."""
    return int((now - KEPT_SECONDS) // HOUR)


def sort_of(row: Sequence[Any]) -> Sort:
    """Make it of a row's values for `SORT`."""
    provider, base_url, model, endpoint, lane, window, fate, bracket = row
    return Sort(provider, base_url, model, endpoint, lane, window, Fate(fate), bracket)


def _sort_row(sort: Sort) -> tuple[str | int, ...]:
    return (*map(fit, sort[:-2]), sort.fate.value, sort.bracket)


def _counts(entry: Entry) -> tuple[int, ...]:
    return entry.requests, entry.untold, *entry.usage


def fit(text: str) -> str:
    """A text as SQLite can hold it. Callers choose the names of models."""
    return text[:MAX_NAME].encode(errors="replace").decode()


SORT = ("provider", "base_url", "model", "endpoint", "lane", "completion_window", "fate", "bracket")
COUNTS = ("requests", "untold", "input", "cached", "output", "reasoning", "cache_write")
COLUMNS = ("hour", "budget", "batch_id", "metadata", "account", *SORT, *COUNTS)
_SUM = (
    f"SELECT account, hour, {', '.join(SORT)}, {', '.join(f'sum({name})' for name in COUNTS)} "  # noqa: S608
    f"FROM charges WHERE hour >= ? AND budget = ? GROUP BY account, hour, {', '.join(SORT)}"
)
_SUMS = ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTS)

_ADD = (
    f"INSERT INTO charges (stamp, {', '.join(COLUMNS)}) "  # noqa: S608  (constants)
    f"VALUES ({', '.join('?' * (1 + len(COLUMNS)))}) "
    "ON CONFLICT (stamp, hour, batch_id, model, endpoint, lane, completion_window, fate, bracket) "
    f"DO UPDATE SET {_SUMS}"
)
_PAYER = (
    "SELECT coalesce(r.budget, ?), coalesce(b.metadata, '{}'), coalesce(b.account, x'') "
    "FROM (SELECT ? AS stamp) LEFT JOIN batches b USING (stamp) LEFT JOIN reservations r USING (stamp)"
)


def reserve(db: sqlite3.Connection, idempotency_key: str, *, budget: str, amount: Decimal) -> None:
    """Record what a batch may cost, before it is sent."""
    db.execute("INSERT OR REPLACE INTO reservations VALUES (?, ?, ?)", (idempotency_key, budget, f"{amount:f}"))


def release(db: sqlite3.Connection, idempotency_key: str) -> None:
    """The batch is over: what it cost was added."""
    db.execute("DELETE FROM reservations WHERE stamp = ?", (idempotency_key,))
