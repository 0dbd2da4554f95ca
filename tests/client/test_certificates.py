"""A server, or a company's proxy, whose certificate a private authority signed. On real sockets."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from autobatcher import BatchOpenAI
from autobatcher.errors import BatchSubmissionError
from tests.harness import ask

CERTIFICATES = Path(__file__).parent / "certificates"
"""Of an authority that exists in these tests only, for localhost until the year 2126."""

pytestmark = pytest.mark.real_time


class _Refusing(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def tls_server() -> Iterator[str]:
    """A server that refuses every key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.pem")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


async def asked(base_url: str) -> None:
    async with BatchOpenAI(api_key="sk-1", base_url=base_url, batch_window_seconds=0.01) as client:
        await ask(client, "x")


async def test_a_private_authority_is_named_by_an_environment_variable_which_the_error_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tls_server() as base_url:
        with pytest.raises(BatchSubmissionError, match="SSL_CERT_FILE"):
            await asked(base_url)
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
        with pytest.raises(openai.AuthenticationError):
            await asked(base_url)
