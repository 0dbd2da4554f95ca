"""The flags of `autobatcher batch` that say how calls are batched."""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from cyclopts import Parameter
from cyclopts.validators import Number

from .flags import Bytes, Count
from .settings_flags import with_settings
from .upstream_flags import UpstreamFlags

# No postponed annotations in this module: cyclopts reads those of a class from where the class is used.
_Flags = TypeVar("_Flags")


def _with_large_batches(flags: type[_Flags]) -> type[_Flags]:
    """A file has many calls at once, so its batches may be larger."""
    flags.batch_size = 10_000  # type: ignore[attr-defined]
    return flags


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
@_with_large_batches
@with_settings
class BatchFlags(UpstreamFlags):
    """How calls are batched.

    Attributes
    ----------
    max_retries:
        How often a line that failed with 408, 409, 429 or 5xx, or expired, is retried in another batch.
    ahead:
        How many calls may be under way; reading waits for room.
    ahead_bytes:
        How large their bodies may be, all together.
    """

    max_retries: Annotated[int, Parameter(validator=Number(gte=0))] = 2
    ahead: Count = 40_000
    ahead_bytes: Bytes = 256_000_000
