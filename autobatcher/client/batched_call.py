"""One batchable call, from the body of an HTTP request to the parts of its response."""

from __future__ import annotations

import anyio
import openai

from ..engine.hosting import Host
from ..engine.request import Answer, Request
from ..errors import BatchEndedError, BatchError, BatchSubmissionError, BatchTimeoutError, EngineError
from ..turns import in_turns
from .batchable import batch_request, check_content_type
from .call import Call
from .checked_call import checked_call
from .http_parts import HttpParts, answer_parts, error_parts, streamed_parts
from .streams import UnstreamableAnswerError, streaming


async def batched(host: Host, call: Call, endpoint: str, content_type: str, body: bytes) -> HttpParts:
    """Batch a call and return the parts of its response.

    Raises:
        BatchError: the SDK neither wraps nor retries it.
    """
    try:
        check_content_type(endpoint, content_type)
        asked, digested = await checked_call(endpoint, body)
        answer = await _answer(host, call, endpoint, asked.body, digested)
        if not asked.wants_stream or not 200 <= answer.status_code < 300:
            return answer_parts(answer)
        stream = await in_turns(streaming(endpoint, answer.body, include_usage=asked.include_usage))
        return streamed_parts(answer, stream)
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
        # openai 2.x takes any other exception for a broken connection and retries the call.
        raise EngineError(f"A bug in autobatcher ({type(error).__name__}); please report it.") from error


async def _answer(host: Host, call: Call, endpoint: str, body: bytes, digested: bytes) -> Answer:
    if isinstance(call.outcome, BatchError):
        raise call.outcome
    if call.outcome is not None:
        return call.outcome
    request = batch_request(
        call.account, endpoint, body, digested=digested, max_retries=call.max_retries, deadline=call.deadline
    )
    return await answered(host, request, call.wait_seconds)


async def answered(host: Host, request: Request, wait_seconds: float | None) -> Answer:
    """`Host.submit` with a time limit. Raises `BatchTimeoutError` when it is over; the request is withdrawn."""
    if wait_seconds is None:
        return await host.submit(request)
    with anyio.move_on_after(wait_seconds):
        return await host.submit(request)
    raise _timeout_error(wait_seconds, request)


def _timeout_error(seconds: float, request: Request) -> BatchTimeoutError:
    return BatchTimeoutError(
        f"Request timed out: no answer within the {seconds:g} seconds of this call's timeout. The call was withdrawn. "
        "Batches take minutes to hours: set no timeout, or pass ignore_timeouts=True to the client.",
        batch_id=request.left_batch_id,
        custom_id=request.custom_id or None,
    )
