"""JSON trees and bytes, mutated. Whatever is random comes from the `Random` that is passed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

Tree: TypeAlias = Any
"""A JSON value whose objects are `Members`, and which may hold `Raw`."""


@dataclass
class Members:
    """A JSON object: its names may be repeated."""

    pairs: list[tuple[str, Tree]]


@dataclass(frozen=True)
class Raw:
    """Bytes that stand where a value stands."""

    content: bytes


def tree_of(value: Any) -> Tree:
    """A value of `json.loads` as a tree."""
    if isinstance(value, dict):
        return Members([(name, tree_of(each)) for name, each in value.items()])
    return [tree_of(each) for each in value] if isinstance(value, list) else value


def written(tree: Tree) -> bytes:
    """The tree as JSON, or nearly so."""
    if isinstance(tree, Raw):
        return tree.content
    if isinstance(tree, Members):
        return b"{" + b",".join(_text(name) + b":" + written(each) for name, each in tree.pairs) + b"}"
    if isinstance(tree, list):
        return b"[" + b",".join(map(written, tree)) + b"]"
    return _text(tree)


def _text(value: Any) -> bytes:
    return json.dumps(value).encode()


SMALL: tuple[Tree, ...] = (
    *(None, True, False, 0, -1, 1, 42, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 0.5, -0.0, 1e308),
    *(
        float("nan"),
        float("inf"),
        "",
        " ",
        "x",
        "\0",
        "\ud800",
        "\udfff\ud800",
        "a\nb\r\n",
        "\x1b]0;x\x07",
        "é",
        "٣",
        "..",
    ),
    *("200", "true", "null", "completed", "failed", "../..", "a/b?c#d", "%2e%2e", "0" * 300, "\u202e\u200b"),
    *([], Members([]), [[]], [None], Members([("", None)])),
    *(Raw(b"1" * 5000), Raw(b"1e400"), Raw(b"-1e999999999"), Raw(b"1." + b"0" * 2000), Raw(b'"\\ud800"')),
    *(Raw(b'"\xed\xa0\x80"'), Raw(b'"\xff\xfe"'), Raw(b'"a\tb\x01"'), Raw(b"01"), Raw(b"+1"), Raw(b"nul"), Raw(b"")),
    *(Raw(b"/* */1"), Raw(b"'x'"), Raw(b"{,}"), Raw(b'"\\u12"'), Raw(b"[" * 2000 + b"]" * 2000)),
)


def odd_value(random: Random, most_bytes: int = 100_000) -> Tree:
    """A value that nobody expects: mostly small, at times as large as `most_bytes`."""
    return random.choice(SMALL) if random.random() < 0.9 else large_value(random, most_bytes)


def large_value(random: Random, most_bytes: int) -> Tree:
    """Deep, wide or long."""
    size = random.choice([1000, 50_000, most_bytes])
    size = min(size, most_bytes)
    return random.choice(LARGE)(size)


LARGE: tuple[Callable[[int], Tree], ...] = (
    lambda size: Raw(b"[" * (size // 2) + b"]" * (size // 2)),
    lambda size: Raw(b"[" * size),
    lambda size: Raw(b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6)),
    lambda size: Raw(b"[" + b"[]," * (size // 3) + b"[]]"),
    lambda size: Raw(b"[" + b"{}," * (size // 3) + b"{}]"),
    lambda size: Raw(b"[" + b"1," * (size // 2) + b"1]"),
    lambda size: Raw(b"{" + b",".join(b'"%x":0' % number for number in range(size // 9)) + b"}"),
    lambda size: Raw(b"{" + b'"a":1,' * (size // 6) + b'"a":1}'),
    lambda size: Raw(b'"' + b"x" * size + b'"'),
    lambda size: Raw(b'"' + b"\\u0041" * (size // 6) + b'"'),
    lambda size: Raw(b'"' + b"\\\\" * (size // 2) + b'"'),
    lambda size: Raw(b"9" * size),
    lambda size: Raw(b" " * size + b"1"),
)


def mutated(tree: Tree, random: Random, most_bytes: int = 100_000) -> Tree:
    """The tree with one place of it changed, or more."""
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        tree = _changed(tree, random, most_bytes)
    return tree


def _changed(tree: Tree, random: Random, most_bytes: int) -> Tree:
    if isinstance(tree, Members) and tree.pairs and random.random() < 0.85:
        return Members(_changed_pairs(list(tree.pairs), random, most_bytes))
    if isinstance(tree, list) and tree and random.random() < 0.85:
        return _changed_items(list(tree), random, most_bytes)
    return odd_value(random, most_bytes)


def _changed_pairs(pairs: list[tuple[str, Tree]], random: Random, most_bytes: int) -> list[tuple[str, Tree]]:
    at = random.randrange(len(pairs))
    name, value = pairs[at]
    match random.randrange(10):
        case 0:
            del pairs[at]
        case 1:
            pairs.insert(random.randrange(len(pairs) + 1), (name, odd_value(random, most_bytes)))
        case 2:
            pairs.append((name, value))
        case 3:
            pairs[at] = (str(random.choice(["", "\ud800", name.upper(), name + "\0", "__proto__", "stream"])), value)
        case 4:
            pairs.insert(0, (random.choice(["stream", "model", "n", "x"]), odd_value(random, most_bytes)))
        case _:
            pairs[at] = (name, _changed(value, random, most_bytes))
    return pairs


def _changed_items(items: list[Tree], random: Random, most_bytes: int) -> list[Tree]:
    at = random.randrange(len(items))
    match random.randrange(6):
        case 0:
            del items[at]
        case 1:
            items.append(items[at])
        case 2:
            items.insert(at, odd_value(random, most_bytes))
        case _:
            items[at] = _changed(items[at], random, most_bytes)
    return items


def mutated_json(content: bytes, random: Random, most_bytes: int = 100_000) -> bytes:
    """JSON text with its tree changed; other text with its bytes changed."""
    try:
        tree = tree_of(json.loads(content))
    except (ValueError, RecursionError):
        return mutated_bytes(content, random)
    return written(mutated(tree, random, most_bytes))


def mutated_bytes(content: bytes, random: Random) -> bytes:
    """Some bytes flipped, cut out, repeated, or put in."""
    found = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 5])):
        at = random.randrange(len(found) + 1)
        size = random.choice([1, 1, 2, 8, 100])
        match random.randrange(6):
            case 0:
                del found[at : at + size]
            case 1:
                found[at:at] = random.randbytes(size)
            case 2:
                found[at:at] = found[max(0, at - size) : at]
            case 3:
                del found[at:]
            case 4:
                found[at:at] = random.choice([b"\0", b"\r\n", b"\n", b"\xff", b" ", b"\xef\xbb\xbf", b"{", b'"'])
            case _ if at < len(found):
                found[at] ^= 1 << random.randrange(8)
            case _:
                pass
    return bytes(found)


def compressed(content: bytes, encoding: str) -> bytes:
    """As gzip or deflate."""
    return gzip.compress(content, 6, mtime=0) if encoding == "gzip" else zlib.compress(content)
