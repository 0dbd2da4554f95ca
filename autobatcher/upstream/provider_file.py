"""Reads a provider's profile from a TOML or JSON file."""

from __future__ import annotations

import math
import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from .price_note import PriceNote
from .providers import BATCHABLE_ENDPOINTS, KNOWN_PROFILES, ProviderProfile, profile_named

SUFFIXES = (".toml", ".json")

_UNLIMITED = "unlimited"
"""Stands for None, which TOML cannot express."""


def names_file(provider: str) -> bool:
    """Whether a `provider=` argument is the path of a profile, and not a name."""
    return provider.lower().endswith(SUFFIXES)


def read_profile(path: str | os.PathLike[str]) -> ProviderProfile:
    """Read a profile from a file.

    The file has the fields of `ProviderProfile`. `base = "openai"`, or another known name, supplies the fields that the
    file leaves out; without `base` they have the strictest of the known limits.

    Args:
        path: a file whose name ends in .toml or .json.

    Raises:
        ValueError: if the file cannot be read, or is not a profile. The message names the file and the field.
    """
    try:
        return _profile(_read(Path(path)))
    except OSError as error:
        raise ValueError(f"provider: {os.fspath(path)} cannot be read: {error.strerror or error}") from error
    except (ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"provider: {os.fspath(path)}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError("the name of a profile's file ends in .toml or .json")
    decode = msgspec.toml.decode if path.suffix.lower() == ".toml" else msgspec.json.decode
    content = decode(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError('a profile is an object, such as {"name": "mine", "max_requests": 1000}')
    return content


def _profile(content: dict[str, Any]) -> ProviderProfile:
    hints = get_type_hints(ProviderProfile)
    given = dict(content)
    base = given.pop("base", None)
    for key in given:
        if key not in hints:
            raise ValueError(f"there is no field {key!r}{did_you_mean(key, ['base', *hints])}")
    if "name" not in given:
        raise ValueError('the name is missing: add a field such as name = "mine"')
    values = {key: _value(key, value, hints[key]) for key, value in given.items()}
    return ProviderProfile(**values) if base is None else replace(_base(base), **values)


def _base(name: object) -> ProviderProfile:
    known = [profile.name for profile in KNOWN_PROFILES]
    if name not in known:
        raise ValueError(f"base must be one of {', '.join(known)}; not {name!r}")
    return profile_named(str(name))


def _value(key: str, value: object, hint: Any) -> Any:
    if value == _UNLIMITED and key in _MAY_BE_UNLIMITED:
        return None
    if key == "price_notes":
        return _price_notes(value)
    try:
        converted = msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise ValueError(f"{key} must be {_wanted(key, hint)}, not {value!r}") from error
    _check(key, converted)
    return converted


def _price_notes(value: object) -> tuple[PriceNote, ...]:
    known = [field.name for field in fields(PriceNote)]
    for note in value if isinstance(value, list) else ():
        for key in note if isinstance(note, dict) else ():
            if key not in known:
                raise ValueError(f"price_notes: there is no field {key!r}{did_you_mean(key, known)}")
    try:
        return msgspec.convert(value, tuple[PriceNote, ...])
    except msgspec.ValidationError as error:
        raise ValueError(f"price_notes: {error}") from error


_MAY_BE_UNLIMITED = {
    field.name for field in fields(ProviderProfile) if field.name.startswith("max_") and "None" in str(field.type)
}


def _check(key: str, value: Any) -> None:
    """Check what the type of a field does not say. Raises `ValueError`."""
    if key.startswith("max_") and value is not None and value < 1:
        raise ValueError(f"{key} must be at least 1, not {value}")
    if key in ("name", "file_purpose", "price_provider") and value is not None and not value.strip():
        raise ValueError(f"{key} must not be empty")
    if key in ("url_prefix", "upload_path") and not re.fullmatch(r"(/[\w.~-]+)*", value):
        raise ValueError(f'{key} must be a path such as "/v4", without a slash at its end; not {value!r}')
    if key == "completion_windows" and value is not None and not all(re.fullmatch(r"\d+[smhdw]", w) for w in value):
        raise ValueError(f'{key} must be two durations such as ["24h", "7d"], not {list(value)!r}')
    if key == "priced_windows" and not all(re.fullmatch(r"\d+[smhdw]", window) for window in value):
        raise ValueError(f'{key} must be durations such as ["24h", "1h"], cheapest first; not {list(value)!r}')
    if key == "cancel_seconds" and not 0 <= value < math.inf:
        raise ValueError(f"{key} must be a finite number of seconds of at least 0, not {value}")
    if key == "flex_seconds" and not 1 <= value < math.inf:
        raise ValueError(f"{key} must be a finite number of seconds of at least 1, not {value}")
    for endpoint in sorted(value - BATCHABLE_ENDPOINTS) if key in ("endpoints", "flex_endpoints") else ():
        raise ValueError(f"{key}: {endpoint!r} cannot be batched{did_you_mean(endpoint, BATCHABLE_ENDPOINTS)}")


def _wanted(key: str, hint: Any) -> str:
    if key == "completion_windows":
        return 'two durations such as ["24h", "7d"]'
    if key in _MAY_BE_UNLIMITED:
        return f'a whole number or "{_UNLIMITED}"'
    wanted = {
        str: "text",
        str | None: "text",
        int: "a whole number",
        float: "a number of seconds",
        bool: "true or false",
    }
    return wanted.get(hint, "a list of texts")


def did_you_mean(name: str, known: Any) -> str:
    """The known name that is most like this one, as the end of a message; empty if none is."""
    from difflib import get_close_matches  # slow to import, and only needed here

    close = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
