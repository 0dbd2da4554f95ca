"""A request whose deadline is seen to, for as long as somebody waits for it."""

from __future__ import annotations

from typing import Generic, TypeVar

Request = TypeVar("Request")


class Watched(Generic[Request]):
    """Stands for a request where a moment is remembered that may be a day away.

    Attributes:
        request: None once it is settled or withdrawn: neither it nor its body is kept until then.
    """

    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request: Request | None = request
