"""Finding the line for which an upload is refused, when the refusal names none. Pure."""

from __future__ import annotations

import math

SPARE_UPLOADS = 8
"""More than one bad line among a thousand is found, too, as far as these go."""


class Bisection:
    """One part of a refused batch. Its requests travel together, and with no others, until the search is over.

    Args:
        lines: how many the batch has that was refused first. One bad line among them costs two uploads a halving.
    """

    def __init__(self, lines: int) -> None:
        self._uploads_left = [2 * math.ceil(math.log2(max(2, lines))) + SPARE_UPLOADS]  # shared by all parts

    def halves(self) -> tuple[Bisection, Bisection] | None:
        """Split this part, and take two uploads from what the search may cost; None if it has cost enough."""
        if self._uploads_left[0] < 2:
            return None
        self._uploads_left[0] -= 2
        return self._part(), self._part()

    def _part(self) -> Bisection:
        part = Bisection(1)
        part._uploads_left = self._uploads_left
        return part
