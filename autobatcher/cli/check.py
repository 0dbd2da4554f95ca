"""`autobatcher check`: what an upstream can, asked by GETs alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from rich.table import Table
from rich.text import Text

from ..redaction import without_url_secrets
from ..upstream.account import Account
from ..upstream.base_url import likely_base_url
from ..upstream.http import UpstreamHTTP
from ..upstream.probe import BATCHES, FILES, MODELS, ask_all
from ..upstream.verdict import Verdict, verdict_on
from .check_report import Checked, ChosenBy, document, rows
from .journal_flags import AsJson
from .output import PrintableConsole, print_json
from .signals import run_until_interrupted
from .upstream_flags import UpstreamFlags, open_upstream

EXAMPLES = """
**Examples**

    # what a server can, and whether the key fits
    autobatcher check --base-url https://api.doubleword.ai/v1

    # in a script: exit code 1 if batches cannot work there
    autobatcher check --json --api-key-file key
"""

CHECK_SECONDS = 10.0
"""How long the answers may take; as long again if the API is looked for at another path."""

NOTE = "Nothing was created, and nothing paid. From `profile` on, this is what the provider's documentation says."


def check(*, as_json: AsJson = False, flags: UpstreamFlags | None = None) -> int:
    """Show what an upstream can: whether it is there, accepts the key and has batches, and by which rules.

    It asks for three lists: batches, files and models. It creates nothing, and costs nothing. What cannot be asked for,
    such as limits, endpoints and whether output can be read while a batch runs, is told from the provider's profile.
    If there is no API at the URL, it looks whether the URL lacks /v1.

    Exit codes: 0 if batches can be expected to work, 1 if not, 2 for wrong usage.

    Args:
        as_json: Print one JSON object.
    """
    return run_until_interrupted(partial(_check_and_report, flags or UpstreamFlags(), as_json=as_json))


async def _check_and_report(flags: UpstreamFlags, *, as_json: bool) -> int:
    async with open_upstream(flags) as upstream:
        checked = await _check(upstream.http, upstream.account, is_named=flags.provider is not None)
    if as_json:
        print_json(document(checked))
    else:
        print_checked(checked)
    return 0 if checked.works else 1


async def _check(http: UpstreamHTTP, account: Account, *, is_named: bool) -> Checked:
    batches, files, models = await ask_all(http, account, (BATCHES, FILES, MODELS), seconds=CHECK_SECONDS)
    found_at = None
    if all(verdict_on(answer) is Verdict.MISSING for answer in (batches, files, models)):
        found_at = await _find(http, account)
    return Checked(
        base_url=without_url_secrets(account.base_url),
        profile=account.provider,
        chosen_by=_chosen_by(account, is_named=is_named),
        batches=batches,
        files=files,
        models=models,
        found_at=None if found_at is None else without_url_secrets(found_at),
    )


async def _find(http: UpstreamHTTP, account: Account) -> str | None:
    """The base URL on the same server where there is an API; None if nobody found one."""
    likely = likely_base_url(account.base_url)
    if likely == account.base_url:
        return None
    answers = await ask_all(http, replace(account, base_url=likely), (BATCHES, MODELS), seconds=CHECK_SECONDS)
    is_there = any(verdict_on(answer) in (Verdict.WORKS, Verdict.REFUSED) for answer in answers)
    return likely if is_there else None


def _chosen_by(account: Account, *, is_named: bool) -> ChosenBy:
    if is_named:
        return "--provider"
    return "host" if account.provider.hosts else "default"


def print_checked(checked: Checked) -> None:
    """Print the table."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows(checked):
        table.add_row(name, Text(value))
    console = PrintableConsole()
    console.print(table)
    console.print(Text(NOTE))
