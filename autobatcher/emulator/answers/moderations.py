"""Answers to POST /v1/moderations: only a text that contains "FLAG-ME" is flagged."""

from __future__ import annotations

from typing import Any

from .prompt import Prompt, text_of

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
FLAG = "FLAG-ME"
DEFAULT_MODEL = "omni-moderation-latest"


def moderation(prompt: Prompt) -> dict[str, Any]:
    """A ModerationCreateResponse with a result for each text; a list of parts is one text."""
    given = prompt.required("input")
    is_parts = isinstance(given, list) and all(isinstance(item, dict) for item in given)
    texts = given if isinstance(given, list) and not is_parts else [given]
    model = prompt.request.get("model") or DEFAULT_MODEL
    return {
        "id": f"modr-{prompt.digest}",
        "model": model,
        "results": [_result(text_of(text)) for text in texts],
    }


def _result(text: str) -> dict[str, Any]:
    flagged = FLAG in text
    hit = "violence" if flagged else ""
    return {
        "flagged": flagged,
        "categories": {category: category == hit for category in CATEGORIES},
        "category_scores": {category: 0.97 if category == hit else 0.0001 for category in CATEGORIES},
        "category_applied_input_types": {category: ["text"] for category in CATEGORIES},
    }
