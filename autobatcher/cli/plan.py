"""`autobatcher plan`: what an input file would become and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..client.batchable import batch_request
from ..engine.journal_url import Place
from ..engine.settings import Settings
from ..errors import UnbatchableRequestError
from ..money.calibration import Calibration
from ..money.price_list import PriceList
from ..money.usage import usage_of
from ..planning import Plan
from ..upstream.account import Account
from .flags import COMMAND_LINE_ONLY, Count, InputName, JournalPlace, Url, UsageError
from .input_file import STDIN, BadLineError, asked_by, lines_of
from .journal_flags import AsJson, Wide, journal_to_read
from .output import print_json, print_text, table_room
from .plan_report import BadLines, plan_fields, plan_text
from .price_flags import usable_prices

EXAMPLES = """
**Examples**

    # what a file would cost at OpenAI
    autobatcher plan requests.jsonl

    # at Doubleword, with prices of your own, as JSON
    autobatcher plan big.jsonl.gz --provider doubleword --prices my.toml --json

    # with what the answers in a journal say about the tokens of these models
    make-requests | autobatcher plan - --journal journal.sqlite3
"""


def plan(
    file: Annotated[InputName, COMMAND_LINE_ONLY],
    /,
    *,
    provider: str | None = None,
    base_url: Url | None = None,
    prices: Path | None = None,
    journal: JournalPlace | None = None,
    batch_size: Count = Settings.batch_size,
    as_json: AsJson = False,
    wide: Wide = False,
) -> int:
    """Show what an input file of a Batch API would become and cost: batches, tokens, USD. Nothing is sent.

    Tokens are estimated without downloads, with a band that eight in ten fall into. Answers in a journal make it
    narrower. Prices are those of `autobatcher prices`.

    Exit codes: 0, 1 if there are bad lines, or 2 if there is no such file or journal. Bad lines are named and do not
    count.

    Args:
        file: A JSON Lines file, through gzip if its name ends in .gz; - for standard input.
        provider: The provider: doubleword, openai, azure, groq, ..., or a TOML or JSON file with a profile. Default: by
            the host of --base-url.
        base_url: The upstream's base URL. Default: the environment's OPENAI_BASE_URL, then OpenAI's.
        prices: A TOML file with prices of your own; docs/cost.md says what is in it.
        journal: A journal: its file, or its URL. The answers that it still has tell how many tokens such requests
            have.
        batch_size: How many requests go into a batch, if the provider does not allow less.
        as_json: Print one JSON object.
        wide: Shorten nothing to the width of the terminal.
    """
    if file.startswith("-") and file != STDIN:
        raise UsageError(f"Unknown option: {file}.")
    profile, url, given = usable_prices(provider, base_url, prices)
    account = Account(base_url=url, provider=profile)
    calibration = Calibration() if journal is None else learned_from(journal, account)
    planned = Plan(profile, PriceList(profile, url, given), calibration, batch_size=batch_size)
    bad_lines = _read(file, planned, account)
    if as_json:
        print_json(plan_fields(planned, bad_lines))
    else:
        print_text(plan_text(planned, bad_lines, room=table_room(wide=wide)), wraps=not wide)
    return 1 if bad_lines.count else 0


def _read(file: str, planned: Plan, account: Account) -> BadLines:
    """Count the lines of the file, and return those that no batch can hold."""
    bad_lines = BadLines()
    window = planned.offers[0].completion_window or Settings.completion_window
    for line in lines_of(file):
        try:
            asked = asked_by(line, account.provider)
            planned.add(batch_request(account, asked.endpoint, asked.body), window)
        except BadLineError as error:
            bad_lines.add(line.number, str(error))
        except UnbatchableRequestError as error:
            bad_lines.add(line.number, error.message)
    return bad_lines


def learned_from(journal: Place, account: Account) -> Calibration:
    """What the answers in a journal say. Raises `UsageError`."""
    calibration = Calibration()
    with journal_to_read(journal) as opened:
        for record in opened.batches():
            for result in opened.results(record):
                usage = usage_of(result.answer) if result.answer is not None else None
                if usage is not None and result.body is not None:
                    model = batch_request(account, result.endpoint, result.body).model
                    calibration.observe(model, result.endpoint, result.body, usage)
    return calibration
