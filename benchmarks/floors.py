"""What nobody who does this job can do without: the bytes, and the tasks that wait. Measured alone, as a floor.

The bytes: each request encoded and made a line, the output split into lines, each answer made a `ChatCompletion`, which
is dropped at once, as the callers do; no I/O, no tasks. The tasks: one for each caller in a native group, waiting for
an event of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import trio
from openai.types.chat import ChatCompletion
from trio.testing import wait_all_tasks_blocked
from upstream import Upstream

ANSWER_BYTES = 300
"""What `upstream.py` answers unless told otherwise."""

_INPUT_LINE = b'{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":%b}\n'


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _OutputLine(msgspec.Struct):
    custom_id: str
    response: _Response


_decode = msgspec.json.Decoder(_OutputLine).decode


def input_file(bodies: Sequence[dict[str, Any]]) -> bytes:
    """The lines of a batch: each body encoded, and put between the bytes that are the same for all."""
    return b"".join([_INPUT_LINE % (number, msgspec.json.encode(body)) for number, body in enumerate(bodies)])


def completions(output: bytes) -> Iterator[ChatCompletion]:
    """Those of an output file, in its order. Only the body of each line is read by pydantic."""
    for line in output.splitlines():
        yield ChatCompletion.model_validate_json(bytes(_decode(line).response.body))


def prepared_output(bodies: Sequence[dict[str, Any]]) -> bytes:
    """What the upstream answers to `bodies`: made beforehand, so that its work is in nobody's measure."""
    upstream = Upstream(holds=False, answer_bytes=ANSWER_BYTES)
    upstream.files["input"] = input_file(bodies)
    batch = upstream.create({"input_file_id": "input", "endpoint": "/v1/chat/completions"})
    return upstream.files[upstream.told(batch["id"])["output_file_id"]]


async def asyncio_tasks(count: int) -> None:
    events = [asyncio.Event() for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for event in events:
            group.create_task(event.wait())
        await asyncio.sleep(0)  # they were made before this, so they wait by now
        for event in events:
            event.set()


async def trio_tasks(count: int) -> None:
    events = [trio.Event() for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(event.wait)
        await wait_all_tasks_blocked()
        for event in events:
            event.set()
