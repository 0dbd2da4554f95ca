"""The upstream of all benchmarks: a process of its own at loopback, doing as little as it can, and noting times.

It knows files, batches and nothing else. Each line `... caller-N. ...` of an input file is answered with a chat
completion that says `caller-N.`, so that whoever gets another's answer is found out. A batch is over once it is
created; with `--hold`, once somebody posts to `/release`; `/hold` holds again those that are created or asked for
after it.

    python benchmarks/upstream.py [--hold] [--drop] [--answer-bytes N]     # prints its port

Times are `time.monotonic()`, which all processes of a Linux machine share. `GET /notes` gives them as JSON, and how
many `lines` each batch had. With `--drop`, uploads are read and forgotten; `/files/source-N/content` is an output
file of N lines of 1 KB that nobody had to keep.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_CUSTOM_ID = re.compile(rb'"custom_id":\s*"([^"]+)"')
_CALLER = re.compile(rb"caller-\d+\.")
_DISPOSITION = re.compile(rb'name="file"[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n')

_LINE = (
    b'{"id":"l","custom_id":"%b","response":{"status_code":200,"request_id":"r","body":{"id":"chatcmpl-1","object":'
    b'"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":'
    b'"%b %b","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":'
    b'5,"total_tokens":15}}},"error":null}\n'
)


LINE_BYTES = 1024
"""How long a line of `source-N` and `prose-N` is."""

_PROSE = (
    rb"(chatcmpl-B9MBs8CjcvOLX9qZtXqJpWnkKQs4z) It was the best of times, it was the worst of times,\nit was the age of"
    rb" wisdom: \"Nearly 40% of the time,\" said Zo\u00eb, 50% of us had everything before us, we had nothing before"
    rb" us.\n\n1. We were all going direct to Heaven.\n2. We were all going direct the other way: in short, the period"
    rb" was so far like the present period (https://example.com/Tale%20of%20two), that Quincy's noisiest authorities"
    rb" insisted on its being received, for good or for evil, in the superlative degree of comparison only."
)

_PIECE = 1 << 20


class Upstream:
    """Files and batches.

    Args:
        holds: batches run until `release`.
        answer_bytes: how much text each answer has.
    """

    def __init__(self, *, holds: bool, answer_bytes: int) -> None:
        self.holds = holds
        self.padding = b"y" * answer_bytes
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.notes: dict[str, list[float]] = {"first_byte": [], "uploaded": [], "created": [], "released": []}
        self.notes |= {"completed": [], "lines": []}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def note(self, name: str) -> None:
        self.notes[name].append(time.monotonic())

    def take_file(self, form: bytes) -> dict[str, Any]:
        found = _DISPOSITION.search(form, 0, 4096) or _DISPOSITION.search(form)
        assert found is not None, form[:500]
        content = form[found.end() : form.rindex(b"\r\n--")]
        if b"\r\n--" in content[-400:]:  # other fields follow
            content = content[: content.index(b"\r\n--", len(content) - 400)]
        file_id = self._new_id("file")
        self.files[file_id] = content
        return _file(file_id, len(content))

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        batch_id, output_id = self._new_id("batch"), self._new_id("file")
        lines = self.files[asked["input_file_id"]].split(b"\n")
        answers = [self._answer(line) for line in lines if line.strip()]
        self.files[output_id] = b"".join(answers)
        self.batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": "24h",
            "created_at": int(time.time()),
            "metadata": asked.get("metadata"),
            "output_file_id": output_id,
            "request_counts": {"total": len(answers), "completed": len(answers), "failed": 0},
        }
        self.notes["lines"].append(len(answers))
        return self.told(batch_id, "validating")

    def told(self, batch_id: str, status: str | None = None) -> dict[str, Any]:
        batch = self.batches[batch_id]
        if status is None:
            status = "in_progress" if self.holds else "completed"
            if status == "completed":
                self.note("completed")  # somebody asked, and was told
        return {**batch, "status": status, "output_file_id": batch["output_file_id"] if status == "completed" else None}

    def _answer(self, line: bytes) -> bytes:
        custom_id, caller = _CUSTOM_ID.search(line), _CALLER.search(line)
        assert custom_id is not None
        return _LINE % (custom_id[1], caller[0] if caller else b"?", self.padding)

    def _new_id(self, kind: str) -> str:
        with self._lock:
            return f"{kind}-{next(self._numbers)}"


def _file(file_id: str, size: int) -> dict[str, Any]:
    fields = {"id": file_id, "object": "file", "bytes": size, "created_at": 0, "filename": "f", "purpose": "batch"}
    return {**fields, "status": "processed"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait for the client's delayed ACK
    upstream: Upstream
    drops: bool

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/files") and self.drops:
            self._tell(_file("file-dropped", self._drop()))
        elif path.endswith("/files"):
            self.upstream.note("first_byte")
            form = self._body()
            self.upstream.note("uploaded")
            self._tell(self.upstream.take_file(form))
        elif path.endswith("/release"):
            self.upstream.holds = False
            self.upstream.note("released")
            self._tell({})
        elif path.endswith("/hold"):
            self.upstream.holds = True
            self._tell({})
        elif path.endswith("/cancel"):
            self._body()
            self._tell(self.upstream.told(path.split("/")[-2], "cancelling"))
        else:
            batch = self.upstream.create(json.loads(self._body()))
            self.upstream.note("created")
            self._tell(batch)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.endswith("/content") and ("/source-" in path or "/prose-" in path):
            kind, _, count = path.split("/")[-2].partition("-")
            self._send_lines(int(count), _PROSE if kind == "prose" else b"")
        elif path.endswith("/content"):
            self._send(self.upstream.files[path.split("/")[-2]])
        elif path.endswith("/notes"):
            self._tell(self.upstream.notes)
        elif name.startswith("batch-"):
            self._tell(self.upstream.told(name))
        elif name in self.upstream.files:
            self._tell(_file(name, len(self.upstream.files[name])))
        else:
            self._tell({"object": "list", "data": [], "has_more": False})

    def do_DELETE(self) -> None:
        name = self.path.rpartition("/")[2]
        self.upstream.files.pop(name, None)
        self._tell({"id": name, "object": "file", "deleted": True})

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _drop(self) -> int:
        size = left = int(self.headers["content-length"])
        while left:
            left -= len(self.rfile.read(min(left, _PIECE)))
        return size

    def _send_lines(self, count: int, text: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(count * LINE_BYTES))
        self.end_headers()
        piece = _source_line(text) * (_PIECE // LINE_BYTES)
        for left in range(count * LINE_BYTES, 0, -_PIECE):
            self.wfile.write(piece[:left])

    def _tell(self, fields: dict[str, Any]) -> None:
        self._send(json.dumps(fields).encode())

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: it would cost time."""


def _source_line(text: bytes) -> bytes:
    short = _LINE % (b"custom-id-of-0123456789abcdef-000001", b"caller-1.", text)
    return _LINE % (
        b"custom-id-of-0123456789abcdef-000001",
        b"caller-1.",
        text.ljust(len(text) + LINE_BYTES - len(short), b"y"),
    )


class _Server(ThreadingHTTPServer):
    request_queue_size = 4096
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes its connection at its end is no error; anything else is told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--drop", action="store_true")
    parser.add_argument("--answer-bytes", type=int, default=300)
    options = parser.parse_args()
    upstream = Upstream(holds=options.hold, answer_bytes=options.answer_bytes)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"upstream": upstream, "drops": options.drop}))
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
