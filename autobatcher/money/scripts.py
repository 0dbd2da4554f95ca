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

_TOKENS = {
    # For each character, by script: o200k (gpt-4o and later), cl100k (gpt-4, embeddings), Qwen, Llama, Mistral.
    "a": (0.209, 0.236, 0.23, 0.238, 0.221),  # lower case
    "A": (0.27, 0.27, 0.26, 0.28, 0.39),  # upper case
    "d": (0.77, 0.8, 1.41, 0.87, 1.35),  # digits
    "s": (0.03, 0.0, 0.02, 0.03, 0.01),  # spaces and tabs
    "n": (1.5, 1.5, 1.5, 1.5, 1.6),  # line breaks
    "p": (0.47, 0.42, 0.39, 0.34, 0.47),  # other ASCII
    "x": (1.07, 1.6, 1.47, 1.09, 1.16),  # further Latin letters and signs
    "G": (0.39, 1.04, 1.0, 0.42, 0.42),  # Greek
    "c": (0.29, 0.52, 0.4, 0.33, 0.33),  # Cyrillic
    "H": (0.43, 1.14, 0.43, 1.15, 0.5),  # Hebrew
    "r": (0.34, 0.83, 0.5, 0.4, 0.33),  # Arabic
    "i": (0.39, 1.18, 0.85, 0.68, 0.49),  # Indic scripts and Thai
    "e": (0.22, 1.24, 0.9, 0.9, 0.5),  # Georgian and others; Vietnamese letters
    "q": (1.25, 1.5, 1.6, 1.0, 1.4),  # symbols and punctuation
    "k": (0.69, 0.94, 0.61, 0.63, 0.59),  # kana and punctuation of Japanese and Chinese
    "z": (0.72, 1.06, 0.6, 0.75, 0.92),  # Han
    "g": (0.69, 1.21, 0.81, 0.72, 0.66),  # Hangul
    "m": (1.75, 2.7, 1.4, 2.6, 3.0),  # emoji
}

_FIRST_BYTES = (
    *((range(0x80), "p"), (range(ord("a"), ord("z") + 1), "a"), (range(ord("A"), ord("Z") + 1), "A")),
    *((range(ord("0"), ord("9") + 1), "d"), (b" \t", "s"), (b"\n\r", "n"), (range(0x80, 0xC2), "-")),
    *((range(0xC2, 0xCD), "x"), (range(0xCD, 0xD0), "G"), (range(0xD0, 0xD4), "c"), (range(0xD4, 0xD8), "H")),
    *((range(0xD8, 0xE0), "r"), (b"\xe0", "i"), (b"\xe1", "e"), (b"\xe2", "q"), (b"\xe3", "k")),
    *(
        (range(0xE4, 0xEA), "z"),
        (range(0xEA, 0xEE), "g"),
        (range(0xEE, 0xF0), "q"),
        (range(0xF0, 0xF5), "m"),
        (range(0xF5, 0x100), "-"),
    ),
)


def _shapes() -> bytes:
    """A table from the bytes of UTF-8 to the scripts of characters that begin with them."""
    table = bytearray(256)
    for first_bytes, script in _FIRST_BYTES:
        for byte in first_bytes:
            table[byte] = ord(script)
    return bytes(table)


_SHAPES = _shapes()
_MARKS = [script.encode() for script in _TOKENS]

Rates = tuple[float, ...]

_O200K, _CL100K, _QWEN, _LLAMA, _MISTRAL = zip(*_TOKENS.values(), strict=True)
_OTHERS = tuple(sum(rates) / len(rates) for rates in _TOKENS.values())

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
