"""The environment of the command of `run`, without our keys. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..engine.journal_url import has_secret, is_postgres
from ..redaction import Redactor

_OURS = re.compile(r"AUTOBATCHER_.*(KEY|TOKEN|SECRET|PASSWORD)", re.IGNORECASE)
_JOURNAL = "AUTOBATCHER_JOURNAL"
_NAMES_A_SECRET = re.compile("KEY|TOKEN|SECRET|PASS|AUTH", re.IGNORECASE)


def without_keys(environment: Mapping[str, str], keys: Iterable[str | None]) -> dict[str, str]:
    """The environment without the variables of our own keys, and without any other that holds one of `keys`."""
    held = {key for key in keys if key}
    redactor = Redactor(held)

    def holds_a_key(name: str, value: str) -> bool:
        if _OURS.match(name) or (value in held and _NAMES_A_SECRET.search(name)):
            return True
        if name.upper() == _JOURNAL and is_postgres(value) and has_secret(value):
            return True
        content = value.encode("utf-8", "surrogateescape")
        return redactor.redact_answer(content) != content  # a short key may be a word of any value

    return {name: value for name, value in environment.items() if not holds_a_key(name, value)}
