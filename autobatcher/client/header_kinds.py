"""Headers of single calls. Calls with equal headers share batches, and the headers go with the upstream calls of those.

A line of a batch has no headers, so this is as near as a batch can come to `extra_headers`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from weakref import WeakValueDictionary

from ..errors import UnbatchableRequestError
from ..upstream.account import Account
from .call import CREDENTIAL_HEADERS, is_ignored_header

MOST_HEADER_KINDS = 32
"""How many sets of headers of one account may wait at once. Each needs its own batches, so headers that differ with
every call would make a batch of every call."""


class HeaderKinds:
    """The sets of headers with which calls of one engine wait."""

    def __init__(self) -> None:
        self._accounts: WeakValueDictionary[tuple[Account, object], Account] = WeakValueDictionary()

    def account_with(self, account: Account, headers: Mapping[str, str]) -> Account:
        """Add the headers of one call, names in lower case, to an account. The last call with them frees their place.

        Raises:
            UnbatchableRequestError: if `MOST_HEADER_KINDS` other sets of headers of that account wait.
        """
        if not headers:
            return account
        merged = {**{name.lower(): value for name, value in account.headers}, **headers}
        kind = (account, tuple(sorted(merged.items())))
        known = self._accounts.get(kind)
        if known is not None:
            return known
        if sum(its_account == account for its_account, _ in self._accounts) >= MOST_HEADER_KINDS:
            raise UnbatchableRequestError(
                f"Calls with {MOST_HEADER_KINDS} other sets of headers wait already, and each set needs own batches. "
                f"Leave out headers that differ with every call: {', '.join(headers)}.",
                param="extra_headers",
            )
        made = self._accounts[kind] = replace(account, headers=tuple(merged.items()))
        return made


def forwarded_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers of a proxy's client, names in lower case, that are meant for the upstream.

    Never those of the connection, the content, credentials, browsers, and other proxies.
    """
    return {name: value for name, value in headers.items() if is_forwarded_header(name)}


def is_forwarded_header(name: str) -> bool:
    """Whether `forwarded_headers` has headers of this lower-case name."""
    return not is_ignored_header(name) and name not in CREDENTIAL_HEADERS and not _OF_THE_WAY.match(name)


_OF_THE_WAY = re.compile(
    r"""(
    keep-alive|te|trailer|upgrade|upgrade-insecure-requests|expect|pragma|range|date|via|forwarded|from|max-forwards
    |http2-settings|priority|dnt|origin|referer|save-data|x-requested-with|x-real-ip|x-client-ip|true-client-ip
    |x-api-key|x-goog-api-key|authentication
    |proxy-.*|content-.*|if-.*|sec-.*|access-control-.*|x-forwarded-.*|x-envoy-.*|x-original-.*|cf-.*|cdn-.*|fly-.*
    |x-autobatcher-.*|:.*
    )$""",
    re.VERBOSE,
)
