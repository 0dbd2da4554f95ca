"""Masks our secrets in what others wrote: keys and passwords, in every spelling in which a server may quote them. Pure.

Apply it where text enters from an upstream. Then whatever leaves is clean: errors, events, logs, headers, the journal.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import Any, NoReturn

from .spellings import Spellings
from .turns import Steps, at_once, copying

MASK = "***"

SHORTEST_SECRET = 8
"""In characters. Anything shorter is not a real key, and might occur inside ordinary words."""

SHORTEST_IN_ANSWERS = 16
"""In characters. A shorter key, such as "anything", may be a word of an honest answer."""

SURELY_NO_WORDS = 40
"""In characters. Shorter text without digits, such as "azure-active-directory", may be words."""


class Redactor:
    """Replaces secrets by `MASK`: plain, escaped as in JSON, %-encoded, in base64 at any place, or in a mixture.

    What has no secret in it is returned as it is, after a search or two in C.
    """

    __slots__ = ("_spellings", "_spellings_in_answers")

    def __init__(self, secrets: Iterable[str]) -> None:
        known = [secret for secret in secrets if _is_secret(secret)]
        self._spellings = Spellings(known)
        self._spellings_in_answers = Spellings(secret for secret in known if not _may_be_a_word(secret))

    def redact(self, content: bytes) -> bytes:
        """Mask all secrets. For errors, headers, and what an upstream says of files and batches."""
        return at_once(self.redacting(content))

    def is_clean(self, content: bytes) -> bool:
        """Whether `redact` has nothing to mask in some content of at most `PIECE_BYTES`."""
        return not self._spellings.spans(content)

    def redact_answer(self, content: bytes) -> bytes:
        """Mask the secrets that cannot be words. For honest answers, which must stay as they are."""
        return at_once(self.redacting_answer(content))

    def redacting(self, content: bytes) -> Steps[bytes]:
        """`redact` in steps of some milliseconds."""
        return _redacting(content, self._spellings)

    def redacting_answer(self, content: bytes) -> Steps[bytes]:
        """`redact_answer` in steps of some milliseconds."""
        return _redacting(content, self._spellings_in_answers)

    def redact_text(self, text: str) -> str:
        """Like `redact`, for text."""
        content = text.encode("utf-8", "surrogatepass")
        redacted = self.redact(content)
        return text if redacted is content else redacted.decode("utf-8", "surrogatepass")

    def redact_exception(self, error: BaseException) -> None:
        """Mask all secrets in the arguments of an exception, and of those that it comes from."""
        todo, seen = [error], set[int]()
        while todo:
            each = todo.pop()
            if id(each) not in seen:
                seen.add(id(each))
                each.args = tuple(map(self._redact_argument, each.args))
                if isinstance(each, UnicodeError) and hasattr(each, "object"):
                    each.object = self._redact_argument(each.object)
                todo += [other for other in (each.__cause__, each.__context__) if other is not None]

    def _redact_argument(self, argument: Any) -> Any:
        if isinstance(argument, str):
            return self.redact_text(argument)
        return self.redact(argument) if isinstance(argument, bytes) else argument

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Redactor cannot be pickled: it knows secrets")


def redactor_for(
    headers: Mapping[str, str], query: Iterable[tuple[str, str]] = (), others: Iterable[str] = ()
) -> Redactor:
    """The redactor for the answer to a request with these headers and this query.

    Args:
        others: further secrets.
    """
    named = ((name, value) for name, value in chain(headers.items(), query) if _NAMES_A_SECRET.search(name))
    return _cached(frozenset(chain(others, *(_secrets_in(name, value) for name, value in named))))


@lru_cache(maxsize=512)
def _cached(secrets: frozenset[str]) -> Redactor:
    return Redactor(secrets)


def has_user(url: str) -> bool:
    """Whether a URL has a user, perhaps with a password, or what looks like one and makes the URL invalid."""
    return _HAS_USER.search(url) is not None


_HAS_USER = re.compile(r"//([^/?#]*@|[^/?#\[\]]*:(?!\d*(?:[/?#]|$)))")


def without_url_secrets(text: str) -> str:
    """Mask user, password and query of each URL in a text: what somebody gave as a URL may be quoted in an error."""
    return _URL_QUERY.sub(rf"\1{MASK}", _URL_USER.sub(rf"\1{MASK}@", text))


_URL_USER = re.compile(r"""(//)[^\s"']*@""")
_URL_QUERY = re.compile(r"""(//[^\s"'?]+\?)[^\s"']+""")

# ---- what is secret ----

_NAMES_A_SECRET = re.compile("auth|key|token|secret|pass|credential|cookie|session|signature|^sig$|^code$", re.I)
"""Names of headers and of query parameters that hold secrets: Authorization, api-key, Cookie, sig, ..."""


def _secrets_in(name: str, value: str) -> Iterator[str]:
    """The secrets in the value of a header or parameter: without a scheme, what Basic stands for, each cookie."""
    scheme, _, rest = value.strip().partition(" ")
    yield rest.strip() or value.strip()
    if scheme.lower() == "basic":
        with suppress(ValueError):
            decoded = base64.b64decode(rest).decode()
            yield from (decoded, decoded.partition(":")[2])
    for pair in value.split(";") if name.lower() == "cookie" else ():
        yield pair.partition("=")[2].strip()


_WORDS_OF_THE_API = (
    "input_file_id output_file_id error_file_id created_at expires_at completed_at completion_window request_counts "
    "in_progress finalizing completed validating cancelling cancelled autobatcher_stamp metadata has_more first_id "
    "last_id custom_id status_code response request_id filename endpoint /v1/chat/completions /v1/completions "
    "/v1/embeddings /v1/moderations /v1/responses /v1/images/generations"
)
"""A key such as "autobatcher" is none: with it masked, no batch could be found again."""


def _is_secret(secret: str) -> bool:
    is_number = secret.isdecimal() and len(secret) < SHORTEST_IN_ANSWERS  # a time or a size may contain it
    return len(secret) >= SHORTEST_SECRET and not is_number and secret not in _WORDS_OF_THE_API


def _may_be_a_word(secret: str) -> bool:
    are_words = _WORDS.fullmatch(secret) is not None and len(secret) < SURELY_NO_WORDS
    return len(secret) < SHORTEST_IN_ANSWERS or are_words


_WORDS = re.compile(r"[A-Za-z]?[a-z]*([-_ ./][A-Za-z]?[a-z]*)*")

# ---- masking ----

PIECE_BYTES = 500_000
"""How much is searched in one step. Takes a millisecond, or ten where there are escapes."""

LONGEST_SECRET_BYTES = 10_000
"""How far pieces overlap, at least: longer than any key, however it is spelled."""


def _redacting(content: bytes, spellings: Spellings) -> Steps[bytes]:
    """Mask the secrets. The content itself, if there are none in it."""
    overlap = max(LONGEST_SECRET_BYTES, spellings.reach)
    cleaned, done = io.BytesIO(), 0
    for begin in range(0, len(content) if spellings else 0, PIECE_BYTES):
        if begin:
            yield
        for start, end in spellings.spans(content[begin : begin + PIECE_BYTES + overlap]):
            if start >= PIECE_BYTES:  # it is in the next piece, too, and perhaps more of it
                break
            if begin + start >= done:
                cleaned.write(content[done : begin + start] + _MASK)
            done = max(done, begin + end)
    if not done:
        return content
    yield from copying(content, done, len(content), cleaned)
    return cleaned.getvalue()


_MASK = MASK.encode()
