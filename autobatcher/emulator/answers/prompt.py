"""The input of an answer: the request, its time, and a digest that makes ids unique."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..wire import RefusedError
from .metering import COUNTED_PLAINLY, Metering

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request body, the unix second of the answer, a digest of the body to make ids from, and the service tier.

    `metering` is how its tokens are counted.
    """

    request: dict[str, Any]
    created: int
    digest: str
    tier: str = "default"
    metering: Metering = COUNTED_PLAINLY

    @property
    def model(self) -> str:
        return str(self.request["model"])

    def required(self, name: str) -> Any:
        """The field `name`; raises `RefusedError` (400) if there is none."""
        value = self.request.get(name)
        if value is None:
            raise RefusedError(
                400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
            )
        return value

    def texts(self, name: str) -> list[str]:
        """The field `name` as texts; a list of token numbers is one text. Raises `RefusedError` (400) for none."""
        given = self.required(name)
        if isinstance(given, str):
            return [given]
        if not isinstance(given, list) or not given:
            raise RefusedError(400, f"'{name}' must be a text or a list of at least one text.", param=name)
        if all(isinstance(item, int) for item in given):
            return [str(given)]
        return [item if isinstance(item, str) else str(item) for item in given]

    def count(self, name: str = "n", most: int = 128) -> int:
        """The field `name` as a number of answers from 1 to `most`; 1 if there is none."""
        value = self.request.get(name)
        if value is None:
            return 1
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise RefusedError(400, f"'{name}' must be a whole number from 1 to {most}: {value!r}", param=name)
        return value


def count_tokens(text: str) -> int:
    """An estimate of the number of tokens; 0 for an empty text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def cut_to_tokens(text: str, limit: Any) -> tuple[str, bool]:
    """The text cut to `limit` tokens (None: no limit), and whether it was cut."""
    if not isinstance(limit, int) or count_tokens(text) <= limit:
        return text, False
    return text[: max(0, limit) * CHARACTERS_PER_TOKEN], True


def text_of(content: Any) -> str:
    """The text in the content of a message: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""


def last_user_text(messages: Any, param: str) -> str:
    """The text of the last user message, or of the last message if there is none."""
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        raise RefusedError(400, f"'{param}' must be a list of at least one message.", param=param)
    spoken = [message for message in messages if message.get("role") == "user"] or messages
    return text_of(spoken[-1].get("content"))


def count_prompt_tokens(messages: list[dict[str, Any]]) -> int:
    """Three tokens of overhead for each message, as in OpenAI's chat format, plus its text."""
    return 3 + sum(3 + count_tokens(text_of(message.get("content"))) for message in messages)
