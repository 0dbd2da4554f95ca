"""openai-node through the proxy. Needs Node.js, and NODE_MODULES_FOR_TESTS: a node_modules with "openai" in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.server.proxies import on_real_trio, open_proxy

MODULES = os.environ.get("NODE_MODULES_FOR_TESTS", "")
LIMIT = 50

pytestmark = [
    *on_real_trio,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
    pytest.mark.skipif(not (Path(MODULES) / "openai").is_dir(), reason="NODE_MODULES_FOR_TESTS has no openai"),
]

SCRIPT = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "dummy", maxRetries: 0 });
const messages = [{ role: "user", content: "hello from node" }];
const told = {};
told.plain = (await client.chat.completions.create({ model: "m", messages })).choices[0].message.content;
told.streamed = "";
for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true }))
  told.streamed += chunk.choices[0]?.delta?.content ?? "";
const final = await client.chat.completions.stream({ model: "m", messages }).finalChatCompletion();
told.accumulated = final.choices[0].message.content;
told.embedding = (await client.embeddings.create({ model: "m", input: "x" })).data[0].embedding.length;
told.response = (await client.responses.create({ model: "m", input: "hello" })).output_text;
const response = await client.responses.stream({ model: "m", input: "hello" }).finalResponse();
told.responseStreamed = response.output_text;
try {
  await client.chat.completions.create({ model: "fail-422", messages });
} catch (error) {
  told.status = error.status;
}
console.log(JSON.stringify(told));
"""


async def test_openai_node_gets_every_kind_of_answer(tmp_path: Path) -> None:
    script = tmp_path / "ask.mjs"
    script.write_text(SCRIPT)
    (tmp_path / "node_modules").symlink_to(MODULES)

    def run(url: str) -> Any:
        command = ["node", str(script), f"{url}/v1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    with trio.fail_after(LIMIT):
        async with open_proxy("doubleword") as proxy:
            told = await trio.to_thread.run_sync(run, proxy.url)
    for name in ("plain", "streamed", "accumulated"):
        assert "hello from node" in told[name], name
    assert told["response"] == told["responseStreamed"]
    assert told["embedding"] > 0
    assert told["status"] == 422
