"""What Doubleword says of costs: an estimate of a file, and the analytics of a batch. Pure.

Source: Doubleword's open server control-layer (dwctl/src/api/models/files.rs, batches.rs). Amounts are texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .batch import Batch
from .bill import Bill, Charges
from .lines import Line
from .prices import PriceList
from .usage import Usage

DEFAULT_WINDOW = "24h"
_BYTES_PER_TOKEN = 4
_GUESSED_OUTPUT = 100


def estimate_cost(file_id: str, lines: Iterable[Line], prices: PriceList, window: str) -> dict[str, Any]:
    """A rough estimate, by the length of each line: the real one is rough, too."""
    charges = Charges(prices, window=window)
    for line in lines:
        guessed = Usage(input=len(line.body) // _BYTES_PER_TOKEN, output=_GUESSED_OUTPUT)
        charges.add("batch", line.url, line.model, guessed)
    whole = charges.bill()
    return {
        "file_id": file_id,
        "total_requests": whole.requests,
        "total_estimated_input_tokens": whole.usage.input,
        "total_estimated_output_tokens": whole.usage.output,
        "total_estimated_cost": f"{whole.total:f}",
        "models": [
            _model_estimate(model, Bill(tuple(entry for entry in whole.entries if entry.model == model)))
            for model in whole.by("model")
        ],
    }


def analytics(batch: Batch) -> dict[str, Any]:
    """The tokens and the cost of the lines that were executed, with what they would have cost in real time."""
    bill = batch.outcomes.charges.bill()
    return {
        "total_requests": bill.requests,
        "total_prompt_tokens": bill.usage.input,
        "total_completion_tokens": bill.usage.output,
        **({"total_reasoning_tokens": bill.usage.reasoning} if bill.usage.reasoning else {}),
        "total_tokens": bill.usage.input + bill.usage.output,
        **_averages(batch, bill.requests),
        "total_cost": f"{bill.total:f}",
        "total_list_cost": f"{bill.list_total:f}",
    }


def _model_estimate(model: str, part: Bill) -> dict[str, Any]:
    return {
        "model": model,
        "request_count": part.requests,
        "estimated_input_tokens": part.usage.input,
        "estimated_output_tokens": part.usage.output,
        "estimated_cost": f"{part.total:f}",
    }


def _averages(batch: Batch, requests: int) -> dict[str, float]:
    """Left out while there are none. An answer comes as a whole, so both are the same."""
    if not requests:
        return {}
    milliseconds = 1000 * (max(batch.reached.values()) - batch.reached["in_progress"]) / requests
    return {"avg_duration_ms": milliseconds, "avg_ttfb_ms": milliseconds}
