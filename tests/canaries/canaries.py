"""Secrets that must not leave, the spellings in which a server may quote them, and a search of all that left."""

from __future__ import annotations

import base64
import json
import pickle
import re
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import openai

from autobatcher import BatchError

KEY = "sk-canary/Key+of=theUpstream~0123456789"
PROXY_KEY = "pk-canary/Key+of=theProxy~0123456789"
WEBHOOK_SECRET = "whsec_Y2FuYXJ5L0tleStvZj10aGVXZWJob29rfjAxMjM0NTY3ODk="
FORWARDED_KEY = "fk-canary/Key+of=aCaller~0123456789"
PASSWORD = "canary/Pass+of=aUrl~0123456789"
PROMPT = "canary-prompt, which nobody but the upstream, the journal and the caller may see"


def spellings(secret: str) -> list[str]:
    """How servers quote what they got. Each can stand in a JSON string, in a header, and in HTML."""
    escaped = "".join(f"\\u{ord(character):04x}" for character in secret)
    return [
        secret,
        secret.replace("/", "\\/"),
        escaped,
        escaped[:60].upper().replace("\\U", "\\u") + secret[10:],
        escaped.replace("\\", "\\\\"),
        quote(secret, safe=""),
        quote(quote(secret, safe=""), safe=""),
        "".join(f"%{ord(character):02x}" for character in secret),
        *(_base64(before + secret) for before in ("", "user:", "Bearer ", "x")),
        _base64("?>" + secret).replace("/", "\\/").replace("+", "-"),
    ]


def echo(*secrets: str) -> str:
    """All spellings of all secrets."""
    return " and ".join(spelling for secret in secrets for spelling in spellings(secret))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Exits:
    """Everything that left, by the name of the way out. A new output is one more `add`."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._with_prompts: set[str] = set()

    def add(self, name: str, said: object, *, may_quote_prompts: bool = False) -> None:
        """Add what left on one way."""
        text = (
            said.decode("latin-1") if isinstance(said, bytes) else said if isinstance(said, str) else json.dumps(said)
        )
        self._said[f"{name} {len(self._said)}"] = text
        if may_quote_prompts:
            self._with_prompts.add(text)

    def add_outcome(self, name: str, outcome: Any) -> None:
        """Add what a call gave: its answer, or all that its error tells."""
        if not isinstance(outcome, BaseException):
            self.add(name, str(outcome), may_quote_prompts=True)
            return
        self.add(f"{name}, traceback", "".join(traceback.format_exception(outcome, chain=True)[-1:]))
        error: BaseException | None = outcome
        while error is not None:
            attributes = {key: value for key, value in vars(error).items() if key not in ("request", "response")}
            self.add(f"{name}, error", f"{error!s} {error!r} {error.args!r} {attributes!r}")
            error = error.__cause__ or error.__context__
            if type(error).__name__ == "HTTPStatusError" and isinstance(outcome, openai.APIStatusError):
                break  # made by the SDK, with its own URL
        if isinstance(outcome, openai.APIStatusError):
            self.add_response(f"{name}, its response", outcome.response)
        elif isinstance(outcome, BatchError):  # the SDK's own pickle their request
            self.add(f"{name}, pickled", pickle.dumps(outcome))

    def add_response(self, name: str, response: Any) -> None:
        """Add the headers and the body of an HTTP response."""
        has_failed = response.status_code >= 400
        self.add(f"{name}, headers", repr(response.headers.multi_items()))
        self.add(f"{name}, body", response.content, may_quote_prompts=not has_failed)

    def add_files(self, folder: Path) -> None:
        """Add the journal and what is beside it: prompts are in it by design."""
        for file in folder.iterdir():
            self.add(f"the file {file.name}", file.read_bytes(), may_quote_prompts=True)

    def check(self, *secrets: str) -> None:
        """Search everything for the secrets in any spelling, and for the prompt."""
        assert self._said
        for name, text in self._said.items():
            found = found_in(text, secrets)
            assert not found, f"{name} has {found}: {text[:2000]}"
            assert PROMPT not in text or text in self._with_prompts, f"{name} has the prompt: {text[:2000]}"


def found_in(text: str, secrets: Iterable[str]) -> list[str]:
    """The secrets, or their base64, that stand in a text or in what it is an escape of."""
    texts = [text]
    for _ in range(4):
        texts.append(_unescaped(texts[-1]))
    needles = [needle for secret in secrets for needle in (secret, *_digits(secret)) if len(needle) >= 8]
    return [needle for needle in needles if any(needle in each for each in texts)]


def _unescaped(text: str) -> str:
    text = re.sub(r"\\u00([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text.replace("\\\\", "\\"))
    text = re.sub(r"%([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)
    return text.replace("\\/", "/")


def _digits(secret: str) -> list[str]:
    """What base64 makes of the middle of a secret, wherever it begins; either alphabet."""
    cores = [_base64("." * before + secret)[4:-8] for before in range(3)]
    return [spelled for core in cores for spelled in (core, core.replace("+", "-").replace("/", "_"))]
