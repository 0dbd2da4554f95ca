"""`python -m tests.client.renamed_sdk NAMES`: ordinary calls, with an SDK (and httpx) in which NAMES, such as "a|b",
are called otherwise.

The sources of the packages are renamed as they are imported, so that the SDK itself works as before. Prints what went
upstream and what came back, as JSON.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

import anyio

PACKAGES = ("openai", "httpx", "httpx2")


class Renaming(MetaPathFinder):
    """Finds the modules of `PACKAGES`, with names replaced wherever they are no module's."""

    def __init__(self, name: str) -> None:
        self._name = re.compile(rb"(?<![\s.'\"]\.)(?<!openai\.)\b(%b)\b" % name.encode())

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = RenamingLoader(spec.loader.name, spec.origin, self._name)
        return spec


class RenamingLoader(SourceFileLoader):
    """Compiles a module that has a name, and leaves others to their cached code."""

    def __init__(self, fullname: str, path: str, name: re.Pattern[bytes]) -> None:
        super().__init__(fullname, path)
        self._name = name

    def get_code(self, fullname: str) -> CodeType | None:
        source, renamings = self._name.subn(rb"_renamed\g<0>", self.get_data(self.path))
        if not renamings:
            return super().get_code(fullname)
        code: CodeType = compile(source, self.path, "exec", dont_inherit=True)
        return code


async def async_calls() -> list[Any]:
    """The answers to calls of a client and of its copies, and which `x-team` went upstream with all of them."""
    from tests.harness import MODEL, Harness, Send, ask, between

    teams: set[str | None] = set()

    async def note(request: Any, send: Send) -> Any:
        teams.add(request.headers.get("x-team"))
        return await send(request)

    harness = Harness()
    quickly: dict[str, Any] = {"batch_window_seconds": 0.01, "poll_interval_seconds": 0.01}
    http_client = between(harness, note)
    async with harness.client(http_client=http_client, default_headers={"x-team": "a"}, **quickly) as client:
        completion = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
        answers: list[Any] = [completion.choices[0].message.content, bool(completion._request_id)]
        answers.append(await ask(client.with_options(max_retries=0, timeout=None), "y"))
        answers.append(await ask(client.with_options(api_key="another"), "z"))
        answers.append(client.unbatched.default_headers["x-team"])
    assert harness.realtime_calls == 0
    harness.emulator.close()
    return [*answers, sorted(map(str, teams))]


def sync_calls() -> list[Any]:
    """The same for threads."""
    from tests.client.test_sync import chat, open_client

    with open_client(batch_window_seconds=0.01, poll_interval_seconds=0.01) as (emulator, client):
        copy = client.with_options(max_retries=0)
        answers = [chat(each, text).choices[0].message.content for each, text in ((client, "x"), (copy, "y"))]
        assert emulator.statistics().realtime_calls == {}
    return answers


if __name__ == "__main__":
    sys.meta_path.insert(0, Renaming(sys.argv[1]))
    print(json.dumps([anyio.run(async_calls), sync_calls()]))
