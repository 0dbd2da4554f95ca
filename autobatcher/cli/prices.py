"""`autobatcher prices`: what models cost, by lane and completion window, and where that is from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..money.given_prices import GivenPrices
from ..money.price_list import BATCH, FLEX, REALTIME, PriceList
from ..money.rates import Rates
from ..upstream.providers import ProviderProfile
from .flags import COMMAND_LINE_ONLY, Url
from .journal_flags import AsJson
from .output import print_json, print_notice, print_text, table_room
from .price_flags import usable_prices
from .price_table import PriceRow, price_table

EXAMPLES = """
**Examples**

    # what OpenAI charges for two models
    autobatcher prices gpt-4o-mini text-embedding-3-small

    # what Doubleword charges for all of its models, as JSON
    autobatcher prices --provider doubleword --json

    # with prices of your own
    autobatcher prices my-model --prices prices.toml
"""

ROOM = 80
"""How wide the table is where no terminal says it, in columns."""

_CHAT, _EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


def prices(
    *models: Annotated[str, COMMAND_LINE_ONLY, Parameter(show_default=False)],
    provider: str | None = None,
    base_url: Url | None = None,
    prices: Path | None = None,
    as_json: AsJson = False,
) -> int:
    """Show what models cost, in USD per million tokens, and where that is from.

    Prices come from the file of --prices, then from what the provider publishes, then from genai-prices (pip install
    'autobatcher[money]>=1'). A price that none of them has is unknown. Nothing is sent or downloaded.

    Args:
        models: Models, as requests name them. Without any: all that are known.
        provider: The provider: doubleword, openai, azure, groq, ..., or a TOML or JSON file with a profile. Default: by
            the host of --base-url.
        base_url: The upstream's base URL. Default: the environment's OPENAI_BASE_URL, then OpenAI's.
        prices: A TOML file with prices of your own; docs/cost.md says what is in it.
        as_json: Print one JSON object per line.
    """
    profile, url, given = usable_prices(provider, base_url, prices)
    listed = PriceList(profile, url, given)
    rows = [row for model in models or listed.models() for row in _rows(listed, profile, given, model)]
    if as_json:
        for row in rows:
            print_json(row.fields())
    else:
        print_text(price_table(rows, room=table_room() or ROOM), wraps=False)
    if not rows:
        print_notice("autobatcher prices: no model is known here: name one, or give --prices.")
    return 0


def _rows(listed: PriceList, profile: ProviderProfile, given: GivenPrices, model: str) -> Iterator[PriceRow]:
    endpoint = _endpoint(listed, model)
    for lane, window in _lanes(profile, given, model):
        found = listed.look_up(model, lane=lane, completion_window=window, endpoint=endpoint)
        yield PriceRow(model, endpoint, lane, window, found)


def _endpoint(listed: PriceList, model: str) -> str:
    """The endpoint at which the model has a price: names do not say which models are for embeddings."""
    has_price = isinstance(listed.list_rates(model, endpoint=_CHAT), Rates)
    is_for_embeddings = not has_price and listed.list_rates(model, endpoint=_EMBEDDINGS) is not None
    return _EMBEDDINGS if is_for_embeddings else _CHAT


def _lanes(profile: ProviderProfile, given: GivenPrices, model: str) -> Iterator[tuple[str, str | None]]:
    yield REALTIME, None
    yield FLEX, None
    for window in dict.fromkeys((*(profile.priced_windows or [None]), *given.windows(model))):
        yield BATCH, window
