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

_Kinds = WeakValueDictionary[tuple[tuple[str, str], ...], Account]


class HeaderKinds:
    """The sets of headers with which calls of one engine wait."""

    def __init__(self) -> None:
        self._kinds: dict[Account, _Kinds] = {}
        self._most = MOST_HEADER_KINDS  # accounts, before those without kinds are forgotten

    def account_with(self, account: Account, headers: Mapping[str, str]) -> Account:
        """Add the headers of one call, names in lower case, to an account. The last call with them frees their place.

        Raises:
            UnbatchableRequestError: if `MOST_HEADER_KINDS` other sets of headers of that account wait.
        """
        if not headers:
            return account
        merged = {**{name.lower(): value for name, value in account.headers}, **headers}
        kinds = self._kinds_of(account)
        kind = tuple(sorted(merged.items()))
        known = kinds.get(kind)
        if known is not None:
            return known
        if len(kinds) >= MOST_HEADER_KINDS:
            raise UnbatchableRequestError(
                f"Calls with {MOST_HEADER_KINDS} other sets of headers wait already, and each set needs own batches. "
                f"Leave out headers that differ with every call: {', '.join(headers)}.",
                param="extra_headers",
            )
        made = kinds[kind] = replace(account, headers=tuple(merged.items()))
        return made

    def _kinds_of(self, account: Account) -> _Kinds:
        found = self._kinds.get(account)
        if found is None:
            if len(self._kinds) >= self._most:
                self._kinds = {account: kinds for account, kinds in self._kinds.items() if kinds}
                self._most = max(MOST_HEADER_KINDS, 2 * len(self._kinds))
            found = self._kinds[account] = WeakValueDictionary()
        return found


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
