"""Keys as people mistype them. Pure. No message quotes a key."""

from __future__ import annotations


def fits_a_header(value: str) -> bool:
    """Whether `value` is a valid header value. Check before sending: HTTP libraries log values that they refuse."""
    return value.isascii() and (value.isprintable() or not value)


def key_mistake(key: str) -> str | None:
    """What is wrong with a key, and what to do; None if it can be sent.

    It is the end of a sentence that begins with the name of the setting.
    """
    if key and key != key.strip():
        return "has white space around it, perhaps the line end of a file: give it with .strip()"
    if not fits_a_header(key):
        return "has a line end, or another character that is not valid in an HTTP header: give the key and nothing else"
    if key.lower().startswith("bearer "):
        return 'must be the key alone, without "Bearer"'
    if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'":
        return "has quotation marks around it: leave them out"
    return None


def has_inner_space(key: str) -> bool:
    """Whether there is white space in a key: no provider's has any, and a server of one's own may not care."""
    return len(key.split()) > 1
