"""Finding the line for which an upload is refused, when the refusal names none. Pure."""

from __future__ import annotations

import math

SPARE_UPLOADS = 8
"""More than one bad line among a thousand is found, too, as far as these go."""


class Bisection:
    """How many more uploads the search may cost; shared by all requests of the batch that was refused first.

    Args:
        lines: how many that batch has. One bad line among them costs two uploads for each halving.
    """

    def __init__(self, lines: int) -> None:
        self._uploads_left = 2 * math.ceil(math.log2(max(2, lines))) + SPARE_UPLOADS

    def may_halve(self) -> bool:
        """Take two uploads from what is left; False if there are not so many."""
        if self._uploads_left < 2:
            return False
        self._uploads_left -= 2
        return True
