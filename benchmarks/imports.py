"""How long does `from autobatcher import BatchOpenAI` take, beside `import openai`; and then a program's first call?

    python benchmarks/imports.py [--rounds N]
    python benchmarks/imports.py --one import-autobatcher

Each is the median of `PROCESSES` fresh processes, after one that fills the disk's cache and `__pycache__`.

`ms` is the time around the import alone, inside the process; the SDK is part of ours. `first_call_ms` is the time
after it, from before the client is constructed until its first `chat.completions.create` is queued (ours), or has
been built and reaches the transport (the SDK); no network is part of either.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from rounds import Contender, argument_parser, run_rounds

PROCESSES = 10

_IMPORT = """
import json, sys, time
begun = time.perf_counter()
{statement}
imported = time.perf_counter() - begun
import asyncio, openai
httpx = sys.modules[openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]]  # httpx, or httpx2
messages = [{{"role": "user", "content": "x" * 1000}}]
"""

_THEIRS = """
ANSWER = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
reached = 0.0
def reach(request):
    global reached
    reached = time.perf_counter()
    return httpx.Response(200, json=ANSWER)
async def call():
    http = httpx.AsyncClient(transport=httpx.MockTransport(reach))
    begun = time.perf_counter()
    client = openai.AsyncOpenAI(api_key="any", http_client=http)
    await client.chat.completions.create(model="m", messages=messages)
    return reached - begun
"""

_OURS = """
async def call():
    http = httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(404)))
    begun = time.perf_counter()
    client = BatchOpenAI(api_key="any", batch_window_seconds=600.0, http_client=http)
    calling = asyncio.create_task(client.chat.completions.create(model="m", messages=messages))
    while (statistics := client.batch_statistics()) is None or not statistics.queued_requests:
        await asyncio.sleep(0)
    taken = time.perf_counter() - begun
    calling.cancel()
    await asyncio.wait([calling])
    await client.close()
    return taken
"""

_TELL = """
print(json.dumps([imported * 1e3, asyncio.run(call()) * 1e3]))
"""

PROGRAMS = {
    "import-openai": _IMPORT.format(statement="import openai") + _THEIRS + _TELL,
    "import-autobatcher": _IMPORT.format(statement="from autobatcher import BatchOpenAI") + _OURS + _TELL,
}


def measure(name: str) -> dict[str, float]:
    _, *runs = [run_program(PROGRAMS[name]) for _ in range(PROCESSES + 1)]
    imports, first_calls = zip(*runs, strict=True)
    return {"ms": statistics.median(imports), "first_call_ms": statistics.median(first_calls)}


def run_program(program: str) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True, cwd="/")
    imported, called = json.loads(done.stdout)
    return imported, called


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--one", choices=PROGRAMS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one)))
        return
    run_rounds(__file__, "imports", [Contender(name) for name in PROGRAMS], options)


if __name__ == "__main__":
    main()
