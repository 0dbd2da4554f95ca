"""One batchable call, from the body of an HTTP request to the parts of its response."""

from __future__ import annotations

import anyio
import openai

from ..engine.hosting import Host
from ..engine.request import Request
from ..errors import BatchEndedError, BatchSubmissionError, BatchTimeoutError, EngineError
from .batchable import batch_request, check_content_type
from .call import Call
from .http_parts import HttpParts, answer_parts, error_parts, streamed_parts
from .streams import STREAMED_ENDPOINTS, StreamRequest, UnstreamableAnswerError, stream_events, without_streaming


async def batched(host: Host, call: Call, endpoint: str, content_type: str, body: bytes) -> HttpParts:
    """The parts of the response to a batchable call.

    Raises:
        BatchError: which the SDK neither wraps nor retries.
    """
    try:
        check_content_type(endpoint, content_type)
        streaming = endpoint in STREAMED_ENDPOINTS
        asked = without_streaming(body) if streaming else StreamRequest(body, wants_stream=False, include_usage=False)
        with anyio.move_on_after(call.wait_seconds) as limit:
            request = batch_request(call.account, endpoint, asked.body, max_retries=call.max_retries)
            answer = await host.submit(request)
        if limit.cancelled_caught:
            raise _waited_long_enough(call.wait_seconds, request)
        if not asked.wants_stream or not 200 <= answer.status_code < 300:
            return answer_parts(answer)
        frames = stream_events(endpoint, answer.body, include_usage=asked.include_usage)
        return streamed_parts(answer, b"".join(frames))
    except UnstreamableAnswerError as error:
        ids = {"batch_id": answer.batch_id, "custom_id": answer.custom_id}
        raise BatchEndedError(str(error), status="completed", **ids) from error
    except BatchSubmissionError as error:
        if error.status_code is None:
            raise
        return error_parts(error)
    except openai.OpenAIError:
        raise
    except Exception as error:
        # openai 2.x takes whatever else a transport raises for a broken connection, and sends the call again.
        raise EngineError(f"A defect of autobatcher ({type(error).__name__}); please report it.") from error


def _waited_long_enough(seconds: float | None, request: Request) -> BatchTimeoutError:
    return BatchTimeoutError(
        f"Request timed out: no answer within the timeout of {seconds:g} seconds that was set for this call; it has "
        "been withdrawn. A batch takes minutes to hours: leave the timeout out, or have all of them ignored with "
        "ignore_timeouts=True.",
        batch_id=request.left_batch_id,
        custom_id=request.custom_id or None,
    )
