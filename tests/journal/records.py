"""Records of batches for tests."""

from __future__ import annotations

from autobatcher.engine.journal import BatchRecord


def a_record(idempotency_key: str) -> BatchRecord:
    """A batch of one line, about to be uploaded."""
    return BatchRecord(
        idempotency_key=idempotency_key,
        account=b"x",
        base_url="http://upstream.test/v1",
        provider="openai",
        endpoint="/v1/embeddings",
        completion_window="24h",
        models=["m"],
        metadata={},
        request_count=1,
    )
