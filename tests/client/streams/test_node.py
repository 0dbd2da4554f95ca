"""Streams told to openai-node and to the AI SDK, over a socket.

Needs node, and `NODE_MODULES_FOR_TESTS`: the path of a `node_modules` with `openai`, and for the AI SDK's tests also
with `ai` and `@ai-sdk/openai`. (`npm install openai ai @ai-sdk/openai zod` makes one.)
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import pytest

from .answers import CHAT, ENDED_EARLY, RESPONSES, USAGE, WEATHER_CALLS, Answer, chat, choice, message
from .serving import reply

MODULES = Path(os.environ.get("NODE_MODULES_FOR_TESTS", ""))

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (MODULES / "openai" / "package.json").is_file(),
        reason="NODE_MODULES_FOR_TESTS names no node_modules with openai in it",
    ),
]
needs_the_ai_sdk = pytest.mark.skipif(
    not all((MODULES / name / "package.json").is_file() for name in ("ai", "@ai-sdk/openai")),
    reason="NODE_MODULES_FOR_TESTS names no node_modules with ai and @ai-sdk/openai in it",
)
NODE_SECONDS = 50

# Every script: the case is told by the first part of the base URL's path, the result is the JSON of what `run` returns.
FRAME = """
const {OpenAI} = require('openai');
const clientFor = (name) => new OpenAI({
  baseURL: `${process.env.SERVER}/${encodeURIComponent(name)}/v1`, apiKey: 'k', maxRetries: 0});
const run = async (name) => { %s };
(async () => {
  const results = {};
  for (const name of JSON.parse(process.env.CASES)) {
    try { results[name] = await run(name); } catch (error) { results[name] = {thrown: String(error.stack)}; }
  }
  process.stdout.write(JSON.stringify(results));
})();
"""

Results = dict[str, Any]


def _run(script: str, answers: dict[str, Answer | list[Answer]]) -> Results:
    """Run `script` in node for every case; what it made of each. A list of answers is given one at a time."""
    with _server(answers) as address:
        finished = subprocess.run(
            ["node"],
            input=FRAME % script,
            env={**os.environ, "NODE_PATH": str(MODULES), "SERVER": address, "CASES": json.dumps(list(answers))},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=NODE_SECONDS,
            check=False,
        )
    assert finished.returncode == 0, finished.stderr
    results: Results = json.loads(finished.stdout)
    assert {name: result["thrown"] for name, result in results.items() if "thrown" in result} == {}
    return results


@contextmanager
def _server(answers: dict[str, Answer | list[Answer]]) -> Iterator[str]:
    waiting = {name: list(answer) if isinstance(answer, list) else None for name, answer in answers.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            _, case, path = self.path.split("/", 2)
            name = unquote(case)
            queue = waiting[name]
            answer = cast("Answer", answers[name]) if queue is None else queue.pop(0)
            body = self.rfile.read(int(self.headers["content-length"]))
            content_type, pieces = reply(f"/{path}", answer, body)
            self.send_response(200)
            self.send_header("content-type", content_type)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in [*pieces, b""]:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _assert_says(made: Any, original: Any, where: str = "$") -> None:
    """Everything in `original`, but for what is null or empty, is in `made` too."""
    if isinstance(original, dict):
        for name, value in original.items():
            if value not in (None, "", [], {}):
                assert name in made, f"{where}.{name}"
                _assert_says(made[name], value, f"{where}.{name}")
    elif isinstance(original, list):
        assert len(made) == len(original), where
        for number, (made_item, item) in enumerate(zip(made, original, strict=True)):
            _assert_says(made_item, item, f"{where}[{number}]")
    else:
        assert made == original, where


@pytest.fixture(scope="module")
def chat_results() -> Results:
    return _run(
        """
        const stream = clientFor(name).chat.completions.stream(
          {model: 'm', messages: [{role: 'user', content: '?'}], stream_options: {include_usage: true}});
        const done = [];
        stream.on('content.done', (e) => done.push(e.content));
        stream.on('tool_calls.function.arguments.done', (e) => done.push(e.arguments));
        return {final: await stream.finalChatCompletion(), done};
        """,
        cast("dict[str, Answer | list[Answer]]", CHAT),
    )


@pytest.mark.parametrize("name", CHAT)
def test_openai_node_rebuilds_a_chat_completion(name: str, chat_results: Results) -> None:
    answer = CHAT[name]
    in_order = {**answer, "choices": sorted(answer["choices"], key=lambda choice: int(choice["index"]))}
    _assert_says(chat_results[name]["final"], in_order)


def test_openai_node_learns_when_texts_and_calls_are_done(chat_results: Results) -> None:
    arguments = [call["function"]["arguments"] for call in WEATHER_CALLS]
    assert chat_results["text and tool calls"]["done"] == ["Wait.", *arguments]


@pytest.fixture(scope="module")
def response_results() -> Results:
    return _run(
        "return await clientFor(name).responses.stream({model: 'm', input: '?'}).finalResponse();",
        {**RESPONSES, **ENDED_EARLY},
    )


@pytest.mark.parametrize("name", [*RESPONSES, *ENDED_EARLY])
def test_openai_node_rebuilds_a_response(name: str, response_results: Results) -> None:
    answer = {**RESPONSES, **ENDED_EARLY}[name]
    _assert_says(response_results[name], answer)
    parts = [part for item in answer["output"] if item["type"] == "message" for part in item["content"]]
    assert response_results[name]["output_text"] == "".join(part.get("text", "") for part in parts)


def test_openai_node_runs_the_tools_that_a_stream_calls() -> None:
    calling = chat(choice(message(None, tool_calls=WEATHER_CALLS[:2]), finish_reason="tool_calls"))
    results = _run(
        """
        const asked = [];
        const runner = clientFor(name).chat.completions.runTools({
          model: 'm', stream: true, messages: [{role: 'user', content: '?'}],
          tools: [{type: 'function', function: {
            name: 'weather', description: 'weather', parse: JSON.parse,
            parameters: {type: 'object', properties: {city: {type: 'string'}}},
            function: ({city}) => { asked.push(city); return 'rain'; }}}]});
        return {content: await runner.finalContent(), asked};
        """,
        {"run": [calling, chat(choice(message("It rains.")))]},
    )
    assert results["run"] == {"content": "It rains.", "asked": ["Oslo", "Bergen"]}


STREAM_TEXT = """
const {streamText, tool, jsonSchema} = require('ai');
const {createOpenAI} = require('@ai-sdk/openai');
const provider = createOpenAI({baseURL: `${process.env.SERVER}/${encodeURIComponent(name)}/v1`, apiKey: 'k'});
const parameters = jsonSchema({type: 'object', properties: {city: {type: 'string'}}});
let error = null;
const result = streamText({
  model: provider.%s('m'), prompt: '?', maxRetries: 0, onError: (e) => { error = e.error; },
  tools: {weather: tool({inputSchema: parameters}), noon: tool({inputSchema: parameters})}});
await result.consumeStream();
if (error) throw error;
return {
  text: await result.text,
  reasoning: await result.reasoningText,
  calls: (await result.toolCalls).map((call) => call.input),
  tokens: (await result.usage).totalTokens,
  finish: await result.finishReason};
"""


@needs_the_ai_sdk
def test_the_ai_sdk_reads_chat_completions() -> None:
    names = ["plain", "tool call", "text and tool calls", "logprobs", "annotations", "odd text", "long text"]
    results = _run(STREAM_TEXT % "chat", {name: CHAT[name] for name in names})
    for name in names:
        said = CHAT[name]["choices"][0]["message"]
        assert results[name]["text"] == (said["content"] or "")
        assert results[name]["tokens"] == USAGE["total_tokens"]
        assert results[name]["finish"] == ("tool-calls" if "tool_calls" in said else "stop")
    assert results["tool call"]["calls"] == [{"city": "Oslo"}]
    assert results["text and tool calls"]["calls"][:2] == [{"city": "Oslo"}, {"city": "Bergen"}]


@needs_the_ai_sdk
def test_the_ai_sdk_reads_responses() -> None:
    names = ["plain", "annotations", "several parts", "function calls", "reasoning", "mixed", "odd text", "long text"]
    results = _run(STREAM_TEXT % "responses", {name: RESPONSES[name] for name in names})
    for name in names:
        messages = [item for item in RESPONSES[name]["output"] if item["type"] == "message"]
        texts = [part["text"] for item in messages for part in item["content"]]
        assert results[name]["text"] == "".join(texts)
        assert results[name]["tokens"] == 8
    assert results["mixed"]["calls"] == [{"city": "Oslo"}]
    assert results["reasoning"]["reasoning"] == "First.Second."
