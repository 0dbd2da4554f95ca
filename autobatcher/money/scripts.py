"""How many tokens a text has, by its scripts and the family of the model. Pure.

No vocabulary is needed: a tokenizer spends about as many tokens on each character of a script. The rates below were
fitted with least squares to the open vocabularies of the families, over documentation in 25 languages, program code and
JSON (26 November 2026). They are within a tenth for most of it, and within a third for the rarest languages. What is
left is learned from answers: see calibration.py.
"""

from __future__ import annotations

import re

MOST_SAMPLED = 2**18
"""Longer texts are judged by samples of so many characters altogether, which takes a millisecond."""

_SAMPLES = 16

_SCRIPTS = "aAdsnpxGcHrieqkzgm"
"""Lower case, upper case, digits, spaces, line breaks, other ASCII, further Latin, Greek, Cyrillic, Hebrew, Arabic,
Indic and Thai, Georgian and the like, symbols, kana, Han, Hangul, emoji."""

_FIRST_BYTES = (
    *((range(0x80), "p"), (range(ord("a"), ord("z") + 1), "a"), (range(ord("A"), ord("Z") + 1), "A")),
    *((range(ord("0"), ord("9") + 1), "d"), (b" \t", "s"), (b"\n\r", "n"), (range(0x80, 0xC2), "-")),
    *((range(0xC2, 0xCD), "x"), (range(0xCD, 0xD0), "G"), (range(0xD0, 0xD4), "c"), (range(0xD4, 0xD8), "H")),
    *((range(0xD8, 0xE0), "r"), (b"\xe0", "i"), (b"\xe1", "e"), (b"\xe2", "q"), (b"\xe3", "k")),
    *((range(0xE4, 0xEA), "z"), (range(0xEA, 0xEE), "g"), (range(0xEE, 0xF0), "q"), (range(0xF0, 0x100), "m")),
)


def _shapes() -> bytes:
    """A table from the bytes of UTF-8 to the scripts of characters that begin with them."""
    table = bytearray(256)
    for first_bytes, script in _FIRST_BYTES:
        for byte in first_bytes:
            table[byte] = ord(script)
    return bytes(table)


_SHAPES = _shapes()
_MARKS = [script.encode() for script in _SCRIPTS]

Rates = tuple[float, ...]

_O200K: Rates = (
    0.209,
    0.27,
    0.77,
    0.03,
    1.5,
    0.47,
    1.07,
    0.39,
    0.29,
    0.43,
    0.34,
    0.39,
    0.22,
    1.25,
    0.69,
    0.72,
    0.69,
    1.75,
)
_CL100K: Rates = (
    0.236,
    0.27,
    0.80,
    0.0,
    1.5,
    0.42,
    1.6,
    1.04,
    0.52,
    1.14,
    0.83,
    1.18,
    1.24,
    1.5,
    0.94,
    1.06,
    1.21,
    2.7,
)
_QWEN: Rates = (0.23, 0.26, 1.41, 0.02, 1.5, 0.39, 1.47, 1.0, 0.40, 0.43, 0.50, 0.85, 0.9, 1.6, 0.61, 0.60, 0.81, 1.4)
_LLAMA: Rates = (
    0.238,
    0.28,
    0.87,
    0.03,
    1.5,
    0.34,
    1.09,
    0.42,
    0.33,
    1.15,
    0.40,
    0.68,
    0.9,
    1.0,
    0.63,
    0.75,
    0.72,
    2.6,
)
_MISTRAL: Rates = (
    0.221,
    0.39,
    1.35,
    0.01,
    1.6,
    0.47,
    1.16,
    0.42,
    0.33,
    0.50,
    0.33,
    0.49,
    0.5,
    1.4,
    0.59,
    0.92,
    0.66,
    3.0,
)
_OTHERS: Rates = tuple(round(sum(rates) / 5, 3) for rates in zip(_O200K, _CL100K, _QWEN, _LLAMA, _MISTRAL, strict=True))

_FAMILIES = (
    (re.compile(r"gpt-?4o|gpt-4\.[1-9]|gpt-?[5-9]|gpt-oss|chatgpt|(^|/)o[1-9]|gpt-image|computer-use"), _O200K),
    (re.compile(r"gpt-?[34]|text-embedding|davinci|babbage|moderation"), _CL100K),
    (re.compile(r"qwen|qwq|qvq"), _QWEN),
    (re.compile(r"llama|hermes|nemotron"), _LLAMA),
    (re.compile(r"mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral"), _MISTRAL),
)


def rates_of(model: str) -> Rates:
    """The tokens for each character, by script, of the family that a model is of by its name."""
    name = model[:200].lower()
    return next((rates for pattern, rates in _FAMILIES if pattern.search(name)), _OTHERS)


def count(text: str | bytes, rates: Rates) -> float:
    """About how many tokens a text has. Texts of any length take a millisecond at most."""
    sample = _sample(text)
    if not sample:
        return 0.0
    encoded = sample if isinstance(sample, bytes) else sample.encode("utf-8", "replace")
    shapes = encoded.translate(_SHAPES)
    tokens = sum(shapes.count(mark) * rate for mark, rate in zip(_MARKS, rates, strict=True))
    return tokens * len(text) / len(sample)


def _sample(text: str | bytes) -> str | bytes:
    """The text itself, or pieces of it, evenly spread."""
    if len(text) <= MOST_SAMPLED:
        return text
    size, step = MOST_SAMPLED // _SAMPLES, len(text) // _SAMPLES
    pieces = [text[number * step : number * step + size] for number in range(_SAMPLES)]
    return text[:0].join(pieces)  # type: ignore[arg-type]  # all of one type
