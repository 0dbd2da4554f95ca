"""`autobatcher batch --plan`: what a run would send and cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..client.batchable import batch_request
from ..errors import UnbatchableRequestError
from ..files.input_file import InputFile
from ..files.input_lines import BadLine
from ..files.known_ids import KnownIds
from ..files.output_file import OutputFile
from ..money.calibration import Calibration
from ..money.price_list import PriceList
from ..planning import Plan
from ..upstream.account import Account
from .batch_flags import BatchFlags
from .journal_flags import is_there
from .output import print_json, print_text, table_room
from .plan import learned_from
from .plan_report import BadLines, plan_fields, plan_text
from .price_flags import usable_prices


def print_plan(
    taken: InputFile, outputs: Iterable[OutputFile], flags: BatchFlags, settings: dict[str, Any], *, as_json: bool
) -> bool:
    """Print what the lines would become and cost that are in no output yet. Returns whether all lines are good.

    Args:
        settings: of the client that would send them.

    Raises:
        InputError, OutputError: if a file cannot be read.
        UsageError: for unusable flags.
    """
    profile, url, given = usable_prices(flags.provider, flags.base_url, settings["prices"])
    account = Account(base_url=url, provider=profile)
    journal = settings["journal"]
    calibration = learned_from(journal, account) if journal and is_there(journal) else Calibration()
    planned = Plan(profile, PriceList(profile, url, given), calibration, batch_size=settings["batch_size"])
    bad_lines = _add_lines(planned, taken, _written(outputs), account, settings["completion_window"])
    if as_json:
        print_json(plan_fields(planned, bad_lines))
    else:
        print_text(plan_text(planned, bad_lines, room=table_room()))
    return not bad_lines.count


def _written(outputs: Iterable[OutputFile]) -> KnownIds:
    known = KnownIds()
    for output in outputs:
        output.look(known)
    return known


def _add_lines(planned: Plan, taken: InputFile, written: KnownIds, account: Account, window: str) -> BadLines:
    bad_lines = BadLines()
    for line in taken.lines():
        if isinstance(line, BadLine):
            bad_lines.add(line.number, line.reason)
        elif line.custom_id not in written:
            try:
                planned.add(batch_request(account, line.endpoint, line.body), window)
            except UnbatchableRequestError as error:
                bad_lines.add(line.number, error.message)
    return bad_lines
