"""The dialects by name: what each provider's Batch API accepts and how it words its answers, as data.

Sources, looked up in November 2026: the providers' documents (learn.microsoft.com; console.groq.com;
docs.siliconflow.cn; docs.bigmodel.cn; help.aliyun.com; platform.kimi.ai; docs.together.ai; novita.ai; docs.litellm.ai),
vienneraphael/batchling for Together's uploads, zai-org/z-ai-sdk-python, and public reports for LiteLLM's proxy and
Voyage. What they do not say is as OpenAI has it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from .dialects import DoublewordDialect, OpenAIDialect
from .shapes import Shapes
from .tiers import NO_FLEX

Like: TypeAlias = Literal[
    "openai",
    "doubleword",
    "azure",
    "groq",
    "siliconflow",
    "zhipu",
    "dashscope",
    "moonshot",
    "together",
    "mistral",
    "novita",
    "voyage",
    "litellm",
]

_CHAT, _COMPLETIONS, _EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
_ISO_TIME = "%Y-%m-%dT%H:%M:%SZ"
_NULL_TIMES = ("in_progress", "finalizing", "failed", "expired", "cancelling", "cancelled")
_SILICONFLOW_OK = ("data", {"code": 20000, "message": "Ok", "status": True})

DIALECTS: dict[str, OpenAIDialect] = {
    "openai": OpenAIDialect(),
    "doubleword": DoublewordDialect(),
    # It says at once that there is no room, and does not end batches that are late.
    "azure": OpenAIDialect(
        endpoints=frozenset({_CHAT, _EMBEDDINGS, "/v1/responses"}),
        expires=False,
        no_room_status=400,
        shapes=Shapes(refusals="short"),
    ),
    # Its flex tier costs as much as real time.
    "groq": OpenAIDialect(
        endpoints=frozenset({_CHAT}),
        flex=NO_FLEX,
        completion_windows=("24h", "48h", "72h", "7d"),
        max_file_bytes=100_000_000,
        tells_model_and_usage=False,
        file_id="file_#26",
    ),
    "siliconflow": OpenAIDialect(
        endpoints=frozenset({_CHAT}),
        flex=NO_FLEX,
        completion_windows=("24h", "48h", "168h", "336h"),
        max_requests=5_000,
        max_file_bytes=1_000_000_000,
        tells_model_and_usage=False,
        file_id="file-#10",
        batch_id="batch_#10",
        lacks=frozenset({"files.retrieve", "files.delete"}),
        shapes=Shapes(
            statuses={"validating": "in_queue"},
            renamed_in_files={"created_at": "createdAt"},
            counts="late",
            upload=_SILICONFLOW_OK,
            file_list=_SILICONFLOW_OK,
            refusals="flat",
        ),
    ),
    "zhipu": OpenAIDialect(
        endpoints=frozenset({_CHAT, _EMBEDDINGS}),
        flex=NO_FLEX,
        url_prefix="/v4",
        max_file_bytes=100_000_000,
        max_embedding_inputs=10_000,
        tells_model_and_usage=False,
        shapes=Shapes(counts="flat", refusals="short", left_out=frozenset({"errors"})),
    ),
    "dashscope": OpenAIDialect(
        endpoints=frozenset({_CHAT, _EMBEDDINGS}),
        flex=NO_FLEX,
        max_file_bytes=100_000_000,
        tells_model_and_usage=False,
        file_id="file-batch-#24",
        batch_id="batch_#uuid",
    ),
    "moonshot": OpenAIDialect(
        endpoints=frozenset({_CHAT}),
        flex=NO_FLEX,
        completion_windows=("12h", "24h", "1d", "3d", "7d"),
        max_file_bytes=100_000_000,
        tells_model_and_usage=False,
        shapes=Shapes(left_out=frozenset({"errors", "expired_at"})),
    ),
    "together": OpenAIDialect(
        endpoints=frozenset({_CHAT}),
        flex=NO_FLEX,
        purpose="batch-api",
        upload_path="/files/upload",
        upload_fields=("file", "purpose", "file_name"),
        max_file_bytes=100_000_000,
        tells_model_and_usage=False,
        file_id="file-#uuid",
        batch_id="#uuid",
        shapes=Shapes(
            statuses={
                "validating": "VALIDATING",
                "in_progress": "IN_PROGRESS",
                "finalizing": "IN_PROGRESS",
                "cancelling": "IN_PROGRESS",
                "completed": "COMPLETED",
                "failed": "FAILED",
                "expired": "EXPIRED",
                "cancelled": "CANCELLED",
            },
            renamed={"errors": "error", "expires_at": "job_deadline"},
            left_out=frozenset(
                {"object", "completion_window", "metadata", "request_counts", *(f"{name}_at" for name in _NULL_TIMES)}
            ),
            counts="percent",
            time_format=_ISO_TIME,
            errors_as_text=True,
            creation=("job", {"warning": ""}),
            batch_list="array",
        ),
    ),
    # LiteLLM's calls in front of Mistral's: it neither lists nor cancels.
    "mistral": OpenAIDialect(
        endpoints=frozenset({_CHAT}),
        flex=NO_FLEX,
        max_file_bytes=512_000_000,
        file_id="#uuid",
        batch_id="#uuid",
        lacks=frozenset({"batches.list", "batches.cancel"}),
    ),
    "novita": OpenAIDialect(
        endpoints=frozenset({_CHAT, _COMPLETIONS}),
        flex=NO_FLEX,
        completion_windows=("24h", "48h"),
        tells_model_and_usage=False,
        shapes=Shapes(
            statuses={
                "validating": "VALIDATING",
                "in_progress": "PROGRESS",
                "finalizing": "PROGRESS",
                "cancelling": "CANCELLING",
                "completed": "COMPLETED",
                "failed": "FAILED",
                "expired": "EXPIRED",
                "cancelled": "CANCELLED",
            },
            time_format=_ISO_TIME,
            errors_as_text=True,
        ),
    ),
    "voyage": OpenAIDialect(
        endpoints=frozenset({_EMBEDDINGS}),
        flex=NO_FLEX,
        completion_windows=("12h", "24h"),
        shapes=Shapes(
            statuses={"cancelling": "canceling", "cancelled": "canceled"},
            renamed={"cancelling_at": "canceling_at", "cancelled_at": "canceled_at"},
            time_format="%Y-%m-%d %H:%M:%S",
            failed_lines="beside",
        ),
    ),
    # LiteLLM's proxy in front of OpenAI: long ids, and a 500 where a batch cannot be cancelled any more.
    "litellm": OpenAIDialect(
        file_id="bGl0ZWxsbV9wcm94eTph#120", batch_id="bGl0ZWxsbV9wcm94eTpi#120", cannot_cancel_status=500
    ),
}
