"""`autobatcher receipt`: what a journal says was paid."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..client.sdk import checked_profile
from ..engine.journal.file import Paid
from ..engine.journal_url import Place
from ..money.given_prices import GivenPrices
from ..money.price_list import PriceList
from ..money.receipt import PricesOf
from ..money.receipt_text import markdown
from ..upstream.providers import known_profile
from .flags import JournalPlace, SecondsOrNone, Switch, UsageError
from .journal_flags import AsJson, Wide, journal_to_read, required
from .output import PrintableConsole, print_json, print_notice, print_text
from .receipt_report import by_group, receipt_text, whole_receipt

EXAMPLES = """
**Examples**

    # all that this journal remembers
    autobatcher receipt --journal journal.sqlite3

    # the last week, day by day
    autobatcher receipt --journal journal.sqlite3 --since 7d --by day

    # by what --batch-metadata ci_job=... said, as JSON
    autobatcher receipt --journal journal.sqlite3 --by ci_job --json
"""


def receipt(
    *,
    journal: JournalPlace | None = None,
    since: SecondsOrNone = None,
    by: str | None = None,
    prices: Path | None = None,
    provider: str | None = None,
    as_json: AsJson = False,
    as_markdown: Annotated[Switch, Parameter(name="--markdown")] = False,
    wide: Wide = False,
) -> int:
    """Show what a journal says was paid: cost, list price and saving, in USD. Nothing is sent.

    What was paid twice, for nothing, or perhaps, and what has no known price, is told apart. So is what batches may
    cost that are not over, such as those of a program that crashed. The journal may be in use meanwhile. It keeps what
    was billed for 400 days, also of batches that are forgotten. Prices are those of now; see `autobatcher prices`.

    Exit codes: 0, or 2 if there is no such journal.

    Args:
        journal: The journal: its file, or its URL.
        since: Leave out what was billed longer ago than this, to the hour.
        by: What makes a line: model, day (in UTC), batch, or a key of the batches' metadata. Default: model.
        prices: A TOML file with prices of your own; docs/cost.md says what is in it.
        provider: A TOML or JSON file with the profile that was used, for the prices in it.
        as_json: Print one JSON object per line: the receipt, or with --by one for each line.
        as_markdown: Print Markdown.
        wide: Shorten nothing to the width of the terminal.
    """
    if as_json and as_markdown:
        raise UsageError("--json and --markdown exclude each other.")
    path, prices_of = required(journal), _prices_of(prices, provider)
    paid = _read(path, 0.0 if since is None else time.time() - since)
    if paid is None:
        print_notice(f"autobatcher receipt: {path} is of an older autobatcher, which did not keep what was billed.")
        return 0
    charges = [*paid.charges, *paid.open_lines]
    whole = whole_receipt(charges, prices_of)
    groups = by_group(charges, by or "model", prices_of)
    if as_json:
        for fields in [whole.as_dict()] if by is None else [{"group": key, **each.as_dict()} for key, each in groups]:
            print_json(fields)
    elif as_markdown:
        for text in [markdown(whole)] if by is None else [markdown(each, key) for key, each in groups]:
            print(text)
    else:
        of_open, room = whole_receipt(paid.open_lines, prices_of), None if wide else PrintableConsole().width
        print_text(receipt_text(groups, whole, of_open, by or "model", room=room), wraps=not wide)
    return 0


def _read(path: Place, since: float) -> Paid | None:
    with journal_to_read(path) as opened:
        return opened.paid(since)


def _prices_of(prices: Path | None, provider: str | None) -> PricesOf:
    """Raises `UsageError` for prices or a profile that are none."""
    try:
        given = None if prices is None else GivenPrices.read(prices)
        profile = checked_profile(provider)
    except ValueError as error:
        raise UsageError(str(error)) from error
    lists: dict[tuple[str, str], PriceList] = {}

    def prices_of(name: str, base_url: str) -> PriceList:
        if (name, base_url) not in lists:
            known = profile if profile is not None and profile.name == name else known_profile(name)
            lists[name, base_url] = PriceList(known, base_url, given)
        return lists[name, base_url]

    return prices_of
