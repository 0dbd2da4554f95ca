"""Generates a value that satisfies a JSON schema.

Covers what structured outputs and pydantic's schemas use (JSON Schema 2020-12): type, enum, const, anyOf,
oneOf, allOf, $ref with $defs, also recursive ones, objects, arrays, tuples, bounds, multiples, lengths,
patterns and formats. Other keywords (`not`, `if`, `contains`, ...) are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from ..wire import RefusedError
from .patterns import text_matching

_FORMATS = {
    "date-time": "2025-01-31T12:00:{:02d}Z",
    "date": "2025-01-{:02d}",
    "time": "12:00:{:02d}Z",
    "duration": "PT{}S",
    "email": "person{}@example.com",
    "idn-email": "person{}@example.com",
    "hostname": "host{}.example.com",
    "ipv4": "192.0.2.{}",
    "ipv6": "2001:db8::{}",
    "uuid": "00000000-0000-4000-8000-{:012d}",
    "uri": "https://example.com/{}",
    "url": "https://example.com/{}",
    "uri-reference": "/{}",
    "json-pointer": "/{}",
    "regex": "a{}",
    "byte": "",
    "binary": "",
}


class UnsatisfiableError(RefusedError):
    """No finite value satisfies the schema."""

    def __init__(self, message: str) -> None:
        super().__init__(400, f"Invalid schema: {message}", param="response_format", code="invalid_json_schema")


def example(schema: Any, text: str = "text") -> Any:
    """A value that satisfies `schema`, with `text` where any string is allowed.

    Deterministic. Raises `UnsatisfiableError` (a 400) if it finds none.
    """
    return _Examples(schema, text).of(schema, 0)


class _Examples:
    """One walk through a schema. Different `variant`s, from 0, give different values."""

    def __init__(self, root: Any, text: str) -> None:
        self._root = root
        self._text = text
        self._open: list[str] = []
        """The references being followed. Meeting one again would recurse forever, so another branch is taken."""

    def of(self, schema: Any, variant: int) -> Any:
        if schema is True or schema == {}:
            return f"{self._text} {variant}" if variant else self._text
        if not isinstance(schema, dict):
            raise UnsatisfiableError(f"{schema!r} allows nothing")
        if "$ref" in schema:
            return self._of_reference(schema, variant)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._of_enum(schema, variant)
        if "allOf" in schema:
            return self.of(self._merge_all(schema), variant)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._of_alternatives(schema, keyword, variant)
        return self._of_type(schema, variant)

    # Schemas made of others

    def _of_reference(self, schema: dict[str, Any], variant: int) -> Any:
        reference = schema["$ref"]
        if reference in self._open:
            raise UnsatisfiableError(f"{reference} contains itself without end")
        self._open.append(reference)
        try:
            siblings = {key: value for key, value in schema.items() if key != "$ref"}
            target = self._resolve(reference)
            return self.of(merge(target, siblings) if isinstance(target, dict) else target, variant)
        finally:
            self._open.pop()

    def _resolve(self, reference: Any) -> Any:
        """The schema a local reference points to: a JSON pointer in a fragment (RFC 6901)."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise UnsatisfiableError(f"only references within the schema are known, not {reference!r}")
        found = self._root
        for step in unquote(reference[1:]).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise UnsatisfiableError(f"{reference} leads nowhere") from None
        return found

    def _merge_all(self, schema: dict[str, Any]) -> dict[str, Any]:
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            resolved = self._resolve(part["$ref"]) if isinstance(part, dict) and "$ref" in part else part
            if isinstance(resolved, dict):
                merged = merge(merged, resolved)
        return merged

    def _of_enum(self, schema: dict[str, Any], variant: int) -> Any:
        types = _types(schema)
        values = [value for value in schema["enum"] if not types or _type_of(value) & types]
        if not values:
            raise UnsatisfiableError("an enum has no value of its type")
        return values[variant % len(values)]

    def _of_alternatives(self, schema: dict[str, Any], keyword: str, variant: int) -> Any:
        rest = {key: value for key, value in schema.items() if key != keyword}
        branches = schema[keyword]
        for turn in range(len(branches)):
            # Another variant starts with another branch, so that a set of true and 1 can be told apart.
            branch = branches[(turn + variant) % len(branches)]
            try:
                return self.of(merge(rest, branch) if isinstance(branch, dict) else branch, variant // len(branches))
            except UnsatisfiableError:
                continue
        raise UnsatisfiableError(f"no branch of {keyword} can be satisfied")

    # Plain values

    def _of_type(self, schema: dict[str, Any], variant: int) -> Any:
        for kind in _types(schema) or _implied_types(schema):
            match kind:
                case "object":
                    return self._of_object(schema, variant)
                case "array":
                    return self._of_array(schema, variant)
                case "string":
                    return self._of_string(schema, variant)
                case "integer" | "number":
                    return number_within(schema, kind, variant)
                case "boolean":
                    return variant % 2 == 0
                case "null":
                    return None
        raise UnsatisfiableError(f"unknown type {schema.get('type')!r}")

    def _of_object(self, schema: dict[str, Any], variant: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        others = schema.get("additionalProperties", True)
        found: dict[str, Any] = {}
        for name in [*properties, *(name for name in required if name not in properties)]:
            try:
                found[name] = self.of(properties.get(name, others), variant)
            except UnsatisfiableError:
                if name in required:
                    raise
        for index in range(len(found), schema.get("minProperties", 0)):
            found[self._key(schema, index)] = self.of(others, variant)
        return found

    def _key(self, schema: dict[str, Any], index: int) -> str:
        names = schema.get("propertyNames")
        if isinstance(names, dict):
            return str(self.of({"type": "string", **names}, index))
        return f"key{index}"

    def _of_array(self, schema: dict[str, Any], variant: int) -> list[Any]:
        heads = [self.of(head, variant) for head in schema.get("prefixItems") or []]
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", math.inf)
        wanted = max(least, min(most, len(heads) + 1))
        if wanted <= len(heads):
            return heads[: int(most)] if most < len(heads) else heads
        try:
            return self._fill(heads, schema, int(wanted), variant)
        except UnsatisfiableError:
            if least > len(heads):
                raise
            return heads

    def _fill(self, heads: list[Any], schema: dict[str, Any], wanted: int, variant: int) -> list[Any]:
        items = schema.get("items", True)
        if not schema.get("uniqueItems"):
            return heads + [self.of(items, variant) for _ in range(wanted - len(heads))]
        found = list(heads)
        for turn in range(variant, variant + 20 * wanted + 20):
            if len(found) >= wanted:
                return found
            candidate = self.of(items, turn)
            if not any(_same(candidate, other) for other in found):
                found.append(candidate)
        if len(found) >= wanted:
            return found
        raise UnsatisfiableError(f"cannot find {wanted} different items")

    def _of_string(self, schema: dict[str, Any], variant: int) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        if "pattern" in schema:
            found = text_matching(schema["pattern"], least, most, variant)
            if found is None:
                raise UnsatisfiableError(f"no text found for the pattern {schema['pattern']!r}")
            return found
        template = _FORMATS.get(schema.get("format", ""))
        text = template.format(variant % 28 + 1) if template is not None else self._text
        if variant and template is None:
            text = f"{variant} {text}"
        if len(text) < least:
            text = text.ljust(least, ".")
        return text[: int(most)] if len(text) > most else text


def _types(schema: dict[str, Any]) -> list[str]:
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else list(kind or [])
    # Prefer a value to null.
    return sorted(kinds, key=lambda each: each == "null")


def _implied_types(schema: dict[str, Any]) -> list[str]:
    """The type of a schema that does not name one, by the keywords in it."""
    keywords = {
        "object": {"properties", "required", "additionalProperties", "minProperties", "maxProperties"},
        "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"},
        "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    }
    return [kind for kind, words in keywords.items() if words & schema.keys()] or ["string"]


class _Names(list[str]):
    def __and__(self, other: Iterable[str]) -> bool:
        return any(name in other for name in self)


def _type_of(value: Any) -> _Names:
    if isinstance(value, bool):
        return _Names(["boolean"])
    if isinstance(value, int):
        return _Names(["integer", "number"])
    if isinstance(value, float):
        return _Names(["number", "integer"] if value.is_integer() else ["number"])
    kinds: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return _Names([kinds.get(type(value), "null")])


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON Schema has it: 1 is 1.0, but true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A schema that requires what both require."""
    merged = one | other
    for keyword in one.keys() & other.keys():
        ours, theirs = one[keyword], other[keyword]
        match keyword:
            case "properties" | "$defs":
                merged[keyword] = ours | theirs
            case "required":
                merged[keyword] = list(dict.fromkeys([*ours, *theirs]))
            case "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties":
                merged[keyword] = max(ours, theirs)
            case "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties":
                merged[keyword] = min(ours, theirs)
            case "enum":
                merged[keyword] = [value for value in ours if value in theirs]
            case "anyOf" | "oneOf" | "allOf":
                merged = {key: value for key, value in merged.items() if key != keyword}
                merged["allOf"] = [*merged.get("allOf", []), {keyword: ours}, {keyword: theirs}]
            case _:
                pass
    return merged


def number_within(schema: dict[str, Any], kind: str, variant: int) -> int | float:
    """The `variant`-th number that a schema allows, counted from 0 or from the one nearest to it."""
    step = Fraction(str(schema.get("multipleOf", 1)))
    if kind == "integer" and step.denominator != 1:
        step *= step.denominator
    low, high = _bounds(schema)
    if kind == "number" and "multipleOf" not in schema and low is not None and high is not None and high - low < 2:
        step = (high - low) / 1024 or Fraction(1)
        return _as_number(low + step * min(variant + (schema.get("exclusiveMinimum") is not None), 1024), kind)
    first = _first_multiple(schema, step, low, high)
    value = first + step * variant if high is None or first + step * variant <= high else first - step * variant
    if not _fits(schema, value) and variant:
        return number_within(schema, kind, 0)
    if not _fits(schema, value):
        raise UnsatisfiableError("no number is within the bounds")
    return _as_number(value, kind)


def _first_multiple(schema: dict[str, Any], step: Fraction, low: Fraction | None, high: Fraction | None) -> Fraction:
    """The multiple of `step` to start from: 0 if the bounds allow it, else the one nearest to it."""
    if _fits(schema, Fraction(0)):
        return Fraction(0)
    if low is not None and low >= 0:
        first = math.ceil(low / step) * step
        return first if _fits(schema, first) else first + step
    assert high is not None
    first = math.floor(high / step) * step
    return first if _fits(schema, first) else first - step


def _bounds(schema: dict[str, Any]) -> tuple[Fraction | None, Fraction | None]:
    lows = [Fraction(str(schema[key])) for key in ("minimum", "exclusiveMinimum") if _is_number(schema.get(key))]
    highs = [Fraction(str(schema[key])) for key in ("maximum", "exclusiveMaximum") if _is_number(schema.get(key))]
    return max(lows, default=None), min(highs, default=None)


def _fits(schema: dict[str, Any], value: Fraction) -> bool:
    return not (
        (_is_number(schema.get("minimum")) and value < Fraction(str(schema["minimum"])))
        or (_is_number(schema.get("exclusiveMinimum")) and value <= Fraction(str(schema["exclusiveMinimum"])))
        or (_is_number(schema.get("maximum")) and value > Fraction(str(schema["maximum"])))
        or (_is_number(schema.get("exclusiveMaximum")) and value >= Fraction(str(schema["exclusiveMaximum"])))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(value: Fraction, kind: str) -> int | float:
    return int(value) if kind == "integer" or value.denominator == 1 else float(value)
