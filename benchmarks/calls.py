"""What a call of each kind costs through the SDK's own surface: `embeddings`, `responses`, both `.parse()`, chat.

As `facade.py`, whose surroundings this uses: 100,000 calls at once; and with `-sequential` 1,000 calls one after the
other, each a batch of its own. `cpu_us` is CPU microseconds of the process for each call. Of a batch of one,
a fifth is the deletion of its input file, which 0.6.0 leaves to its users.

autobatcher 0.6.0 has no `parse`. Its users make the schema once, pass it to `create`, and validate the text of each
answer; so do we in its name.

    python benchmarks/calls.py [--rounds N] [--environment NAME=PYTHON ...] [--count N] [--kind KIND ...]
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from functools import cache, partial
from typing import Any

import clients
from facade import BODY_KB, WARM_UP
from pydantic import BaseModel
from rounds import OURS, Contender, argument_parser, run_rounds, upstream_process
from spent import Spent, spending, versions

SEQUENTIAL = 1_000
OLDER = "autobatcher-0.6.0"
LIBRARIES: dict[str, Callable[..., AbstractAsyncContextManager[Any]]] = {OURS: clients.ours, OLDER: clients.older}
ONE_AT_A_TIME = {"batch_size": 1, "poll_interval_seconds": 0.01}


class Said(BaseModel):
    caller: str
    text: str


def main() -> None:
    options = _options()
    if options.one is None:
        run_rounds(__file__, "calls", contenders(options.kind, options.count), options)
    else:
        print(json.dumps(one(options.one, options.count) | {"versions": versions()}))


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="calls at once")
    parser.add_argument("--kind", choices=KINDS, nargs="*", default=list(KINDS))
    parser.add_argument("--one", metavar="CONTENDER", help="measure this one once, here")
    return parser.parse_args()


def contenders(kinds: list[str], count: int) -> Iterator[Contender]:
    for kind in kinds:
        for library in LIBRARIES:
            yield Contender(f"{library}-{kind}", library, ["--count", str(count)])
        for library in LIBRARIES:
            yield Contender(f"{library}-{kind}-sequential", library, ["--count", str(min(count, SEQUENTIAL))])


def one(name: str, count: int) -> dict[str, Any]:
    library = OLDER if name.startswith(OLDER) else OURS
    kind = name.removeprefix(f"{library}-")
    measured = partial(measure, library, kind.removesuffix("-sequential"), count)
    with upstream_process() as base_url:
        return asyncio.run(measured(base_url, one_by_one=kind.endswith("-sequential")))


async def measure(library: str, kind: str, count: int, base_url: str, *, one_by_one: bool) -> dict[str, Any]:
    call, calls = KINDS[kind][library != OURS], sequence if one_by_one else burst
    async with LIBRARIES[library](base_url, **ONE_AT_A_TIME if one_by_one else {}) as client:
        await calls(call, client, WARM_UP)
        with spending() as spent:
            await calls(call, client, count)
    return _result(spent, count)


def _result(spent: Spent, count: int) -> dict[str, Any]:
    return {
        "count": count,
        "cpu_us": round(spent.cpu_seconds * 1e6 / count, 2),
        "wall_s": round(spent.wall_seconds, 3),
        "peak_kb": round(spent.peak_kb / count - BODY_KB, 3),
    }


Call = Callable[[Any, int], Coroutine[Any, Any, None]]


async def burst(call: Call, client: Any, count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(call(client, number))


async def sequence(call: Call, client: Any, count: int) -> None:
    for number in range(count):
        await call(client, number)


async def chat(client: Any, number: int) -> None:
    completion = await client.chat.completions.create(model="m", messages=messages(number))
    check(completion.choices[0].message.content, number)


async def embeddings(client: Any, number: int) -> None:
    response = await client.embeddings.create(model="m", input=text(number))
    if response.data[0].embedding[0] != number:
        raise AssertionError(f"caller {number} got another's answer: {response.data[0].embedding[0]}")


async def responses(client: Any, number: int) -> None:
    response = await client.responses.create(model="m", input=text(number))
    check(response.output_text, number)


async def parse(client: Any, number: int) -> None:
    completion = await client.chat.completions.parse(model="m", messages=messages(number), response_format=Said)
    check(completion.choices[0].message.parsed.caller, number)


async def parse_by_hand(client: Any, number: int) -> None:
    completion = await client.chat.completions.create(model="m", messages=messages(number), response_format=schema())
    check(Said.model_validate_json(completion.choices[0].message.content).caller, number)


async def responses_parse(client: Any, number: int) -> None:
    response = await client.responses.parse(model="m", input=text(number), text_format=Said)
    check(response.output_parsed.caller, number)


async def responses_parse_by_hand(client: Any, number: int) -> None:
    form = {"type": "json_schema", **schema()["json_schema"]}
    response = await client.responses.create(model="m", input=text(number), text={"format": form})
    check(Said.model_validate_json(response.output_text).caller, number)


KINDS: dict[str, tuple[Call, Call]] = {
    "chat": (chat, chat),
    "embeddings": (embeddings, embeddings),
    "responses": (responses, responses),
    "parse": (parse, parse_by_hand),
    "responses-parse": (responses_parse, responses_parse_by_hand),
}
"""How each kind is called through our library, and through autobatcher 0.6.0."""


@cache
def schema() -> dict[str, Any]:
    form = {**Said.model_json_schema(), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "Said", "schema": form, "strict": True}}


def messages(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": text(number)}]


def text(number: int) -> str:
    return f"caller-{number}. " + "x" * 1000


def check(said: str, number: int) -> None:
    if not said.startswith(f"caller-{number}."):
        raise AssertionError(f"caller {number} got another's answer: {said[:30]}")


if __name__ == "__main__":
    main()
