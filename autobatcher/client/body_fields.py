"""Takes fields out of a call's body. All others keep their bytes."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ..engine.digest import has_lost_names
from ..engine.json_scan import MOST_ELEMENTS, is_large, name_count
from ..errors import UnbatchableRequestError
from ..turns import Steps


def without_fields(body: bytes, removed: Collection[str], *, call: str, param: str) -> Steps[bytes]:
    """Remove fields from a JSON object, in steps: 64 MB take 0.3 s.

    Args:
        call: what kind of call it is, for messages.
        param: the field that makes it one.

    Raises:
        UnbatchableRequestError: if the body has a name twice, or far more names than any honest one.
        msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OversizeError: if it is no JSON object.
    """
    if is_large(body) and body.count(b":") > MOST_ELEMENTS:  # texts have colons, too
        yield
        if (yield from name_count(body)) > MOST_ELEMENTS:
            message = f"The body of a {call} call may have {MOST_ELEMENTS:,} names. This one has more."
            raise UnbatchableRequestError(message, param=param)
    yield
    fields = _decode_fields(body)
    yield
    encoded = msgspec.json.encode(fields)
    yield
    if (yield from has_lost_names(body, encoded)):
        raise UnbatchableRequestError(f"The body of this {call} call has a name twice in one object. Send it once.")
    yield
    return msgspec.json.encode({name: value for name, value in fields.items() if name not in removed})


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
