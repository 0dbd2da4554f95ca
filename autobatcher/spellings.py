"""Where secrets stand in a text, in every spelling in which a server may quote them. Pure.

Nearly every text has none, and there is much of it. So it is looked at closely only where a rare character of a secret
stands, or an escape of one of its characters.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MOST_ESCAPES = 20_000
"""Escapes in one text that are looked behind, which takes some 10 ms. Nobody quotes a key behind more."""

MOST_RARE = 300
"""How often a character may stand in one text to be called rare. The spellings themselves are searched then."""

LONGEST_ESCAPE = 8
"""In bytes, of one character: `\\\\u0041`."""


class Spellings:
    """Finds secrets in texts: plain, escaped as in JSON, %-encoded, in base64 at any place, or in a mixture.

    False if there are no secrets.

    Attributes:
        reach: the length in bytes of the longest spelling with each character escaped.
    """

    __slots__ = ("_codes", "_forms", "_has_slash", "_rare", "reach")

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = _forms_of(secrets)
        self._rare = _rare_characters(self._forms)
        self._codes = _codes_of(self._forms)
        self._has_slash = any(b"/" in form for form in self._forms)
        self.reach: int = LONGEST_ESCAPE * len(self._forms[0]) if self._forms else 0

    def __bool__(self) -> bool:
        return bool(self._forms)

    def spans(self, content: bytes) -> list[tuple[int, int]]:
        """Where secrets stand, from the first to the last; they may overlap."""
        spans = list(_spans(content, self._forms)) if self._may_be_in(content) else []
        if self._may_be_escaped_in(content):
            spans += self._spans_in_escaped(content)
        return sorted(spans)

    def _may_be_in(self, content: bytes) -> bool:
        """Whether a spelling stands in the content as it is. Seldom true if none does."""
        return any(_may_be_around(content, character, forms) for character, forms in self._rare.items())

    def _may_be_escaped_in(self, content: bytes) -> bool:
        """Whether a character of a spelling is escaped in the content."""
        behind = [part for mark in _MARKS if mark[0] in content for part in content.split(mark)[1:]]
        if behind and self._has_slash and rb"\/" in content:
            return True
        return not self._codes.isdisjoint([part[:2] for part in behind])

    def _spans_in_escaped(self, content: bytes) -> list[tuple[int, int]]:
        """Where spellings stand with any of their characters escaped."""
        places = [place for mark in _MARKS for place in _places_of(content, mark, self._codes)]
        places += _places_of(content, b"\\/") if self._has_slash else ()
        if len(places) > MOST_ESCAPES:
            return []
        regions = _regions(content, sorted(places), self.reach)
        return [span for begin, end in regions for span in _spans_in_region(content, begin, end, self._forms)]


# ---- how a secret may be spelled ----


def _forms_of(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """All spellings without unnecessary escapes, the longest first."""
    forms = {form for secret in secrets for form in _spellings(secret)}
    forms |= {form.replace(b"/", slash) for form in forms for slash in (rb"\/", rb"\\/")}
    return tuple(sorted(forms, key=len, reverse=True))


def _spellings(secret: str) -> Iterator[bytes]:
    raw = secret.encode("utf-8", "surrogatepass")
    yield raw
    yield quote(raw, safe="").encode()
    for is_ascii in (True, False):
        yield json.dumps(secret, ensure_ascii=is_ascii)[1:-1].encode("utf-8", "surrogatepass")
    for before, first in ((0, 0), (1, 2), (2, 3)):  # bytes before it, and the first digit that is its own
        bits = 8 * (before + len(raw))
        digits = base64.b64encode(bytes(before) + raw)[first : bits // 6]
        yield digits
        yield digits.translate(_URL_SAFE)


_URL_SAFE = bytes.maketrans(b"+/", b"-_")

# ---- what nearly no text has ----

_RAREST_FIRST = "QXZJKVYWGUHBFNOLRDPMECTSIA"
"""In JSON that models write, most capital letters stand in ids."""

_Around = dict[int, list[tuple[int, bytes]]]
"""By the character behind a rare one: forms, and how much of each is before the rare one."""


def _rare_characters(forms: tuple[bytes, ...]) -> dict[bytes, _Around]:
    """The rarest character of each form, and what is around it. b"" for forms without one."""
    found: dict[bytes, _Around] = defaultdict(lambda: defaultdict(list))
    for form in forms:
        character = next((each.encode() for each in _RAREST_FIRST if each.encode() in form[:-1]), b"")
        place = form.find(character)
        found[character][form[place + 1]].append((place, form))
    return {character: dict(around) for character, around in found.items()}


def _may_be_around(content: bytes, character: bytes, around: _Around) -> bool:
    """Whether one of the forms stands around one of the characters; or anywhere, if they are not rare."""
    at, last = -1, len(content) - 1
    for _ in range(MOST_RARE if character else 0):
        at = content.find(character, at + 1, last)
        if at < 0:
            return False
        for before, form in around.get(content[at + 1], ()):
            if at >= before and content.startswith(form, at - before):
                return True
    return any(form in content for forms in around.values() for _, form in forms)


# ---- where it stands ----


def _spans(content: bytes, forms: tuple[bytes, ...]) -> Iterator[tuple[int, int]]:
    for form in forms:
        start = content.find(form)
        while start >= 0:
            yield start, start + len(form)
            start = content.find(form, start + len(form))


# ---- escapes ----

_ESCAPE = re.compile(rb"\\(?<!\\\\)\\*+(?:u00([2-7][0-9a-fA-F])|(/))|%(?:25)*([2-7][0-9a-fA-F])")
"""Escapes of ASCII characters. Text inside of text is escaped again: `\\\\/`, `%252F`. Each alternative begins with a
character, so that the search for them is a fast one."""


_MARKS = (b"%", rb"\u00")
"""What escapes begin with, before the code of the character."""


def _codes_of(forms: tuple[bytes, ...]) -> frozenset[bytes]:
    """The codes of characters in the forms, and of `%`, which may be escaped itself."""
    characters = {byte for form in forms for byte in form if 0x20 <= byte < 0x80} | set(b"%")
    return frozenset(code for byte in characters for code in (b"%02x" % byte, b"%02X" % byte))


def _places_of(content: bytes, mark: bytes, codes: frozenset[bytes] | None = None) -> Iterator[int]:
    """Where a mark stands; only those with one of the codes behind."""
    at = content.find(mark)
    while at >= 0:
        behind = at + len(mark)
        if codes is None or content[behind : behind + 2] in codes:
            yield at
        at = content.find(mark, behind)


def _regions(content: bytes, places: list[int], reach: int) -> Iterator[tuple[int, int]]:
    """The parts of the content that have all of what is near one of the places."""
    begin = end = 0
    for place in places:
        start = place - reach
        if start > end:
            start = end + len(content[end:start].rstrip(b"\\"))  # an escape that begins with many is not cut
        if start > end:
            if end:
                yield begin, end
            begin = start
        end = max(end, place + reach)
    if end:
        yield max(0, begin), min(end, len(content))


def _spans_in_region(content: bytes, begin: int, end: int, forms: tuple[bytes, ...]) -> list[tuple[int, int]]:
    """Where the forms stand in a part of the content with any of their characters escaped."""
    plain, places, origins = _unescaped(content[begin:end])

    def origin(place: int) -> int:
        at = bisect_right(places, place) - 1
        return begin + origins[at] + place - places[at]

    return [(origin(start), origin(end)) for start, end in _spans(plain, forms)] if len(places) > 1 else []


def _unescaped(content: bytes) -> tuple[bytes, list[int], list[int]]:
    """The content without escapes; places in it, and where in the content they come from."""
    pieces, places, origins, length = list[bytes](), [0], [0], 0
    for found in _ESCAPE.finditer(content):
        before = content[origins[-1] : found.start()]
        character = found[2] or bytes([int(found[1] or found[3], 16)])
        length += len(before)
        pieces += (before, character)
        places += (length, length + 1)
        origins += (found.start(), found.end())
        length += 1
    pieces.append(content[origins[-1] :])
    return b"".join(pieces), places, origins
