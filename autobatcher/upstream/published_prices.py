"""Prices that providers publish for lanes and completion windows which genai-prices does not know.

Each has its source and its date. What nobody publishes for all of a provider's models is not here: Together's "up to
50 %", Groq's discount, of which its pages name two, and Doubleword's other models.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal

from .price_note import PriceNote

_HALF = Decimal("0.5")


def _doubleword(model: str, one_hour: tuple[str, str], one_day: tuple[str, str]) -> tuple[PriceNote, ...]:
    """The notes of a model: flex costs what a batch with a window of an hour costs."""

    def note(lane: Literal["batch", "flex"], window: str | None, rates: tuple[str, str]) -> PriceNote:
        return PriceNote(
            lane=lane,
            window=window,
            models=(model,),
            input=Decimal(rates[0]),
            output=Decimal(rates[1]),
            source="github.com/doublewordai/doubleword-skill, SKILL.md",
            as_of=date(2026, 4, 13),
        )

    return (note("batch", "24h", one_day), note("batch", "1h", one_hour), note("flex", None, one_hour))


# The page sells "async" within an hour, as a batch or by service_tier="flex" (docs.doubleword.ai/inference-api), and
# "batch" within 24. Models whose list price has changed since are left out.
DOUBLEWORD_PRICES = (
    *_doubleword("Qwen/Qwen3.5-4B", ("0.05", "0.08"), ("0.04", "0.06")),
    *_doubleword("Qwen/Qwen3.5-9B", ("0.04", "0.35"), ("0.03", "0.29")),
    *_doubleword("Qwen/Qwen3-14B-FP8", ("0.03", "0.30"), ("0.02", "0.20")),
    *_doubleword("Qwen/Qwen3.5-35B-A3B-FP8", ("0.07", "0.30"), ("0.05", "0.20")),
    *_doubleword("Qwen/Qwen3-VL-30B-A3B-Instruct-FP8", ("0.07", "0.30"), ("0.05", "0.20")),
    *_doubleword("Qwen/Qwen3.5-397B-A17B", ("0.30", "1.80"), ("0.15", "1.20")),
    *_doubleword("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4", ("0.23", "0.56"), ("0.15", "0.38")),
    *_doubleword("openai/gpt-oss-20b", ("0.03", "0.20"), ("0.02", "0.15")),
    *_doubleword("allenai/olmOCR-2-7B-1025-FP8", ("0.15", "0.15"), ("0.10", "0.10")),
    *_doubleword("lightonai/LightOnOCR-2-1B-bbox-soup", ("0.08", "0.08"), ("0.05", "0.05")),
    *_doubleword("Qwen/Qwen3-Embedding-8B", ("0.03", "0"), ("0.02", "0")),
)

OPENAI_PRICES = (
    PriceNote(
        lane="batch",
        models=("text-embedding-3-small",),
        input=Decimal("0.01"),
        output=Decimal(0),
        source="OpenAI's page of the model, by tokenprice.fyi",
        as_of=date(2026, 7, 3),
    ),
    PriceNote(
        lane="batch",
        models=("text-embedding-3-large",),
        input=Decimal("0.065"),
        output=Decimal(0),
        source="OpenAI's pricing page, by embeddingcost.com",
        as_of=date(2026, 5, 1),
    ),
)

AZURE_PRICES = (
    PriceNote(
        lane="batch",
        models=("gpt-*", "o1*", "o3*", "o4*", "text-embedding-*"),
        discount=_HALF,
        source="learn.microsoft.com, how-to/batch: 50 % less than global standard",
        as_of=date(2026, 11, 26),
    ),
)

DEEPINFRA_PRICES = (
    PriceNote(
        lane="batch",
        discount=Decimal("0.2"),
        source="deepinfra.com/blog/batch-api: 20 % less than real time",
        as_of=date(2026, 6, 19),
    ),
)

DASHSCOPE_PRICES = (
    PriceNote(
        lane="batch",
        discount=_HALF,
        source="qwenlm.github.io/qwen-code-docs, batch: half the price of real time",
        as_of=date(2026, 11, 26),
    ),
)

MOONSHOT_PRICES = (
    PriceNote(
        lane="batch",
        models=("kimi-k2.5",),
        discount=Decimal("0.4"),
        source="platform.kimi.ai/docs/pricing/batch: 60 % of the standard price",
        as_of=date(2026, 11, 26),
    ),
)
