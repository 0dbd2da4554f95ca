"""How long does a server not answer GET /health? A process of its own, so that no load generator can starve it.

    python benchmarks/prober.py PORT     # probes until its standard input ends, then prints one JSON object

It measures the server's event loop from outside: accepting what arrived, running the handler, the loop's own delay
(with garbage collection and everything else), and the competition for the machine's cores. One probe goes out every
`PAUSE_SECONDS` on one keep-alive connection, never before the last one was answered.
"""

from __future__ import annotations

import json
import select
import socket
import statistics
import sys
import time

PAUSE_SECONDS = 0.005


def main(port: int) -> None:
    seconds = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
            begun = time.monotonic()
            probe(connection)
            seconds.append(time.monotonic() - begun)
    median = statistics.median(seconds)
    found = {"longest_ms": (max(seconds) - median) * 1e3, "median_ms": median * 1e3, "probes": len(seconds)}
    print(json.dumps(found))


def probe(connection: socket.socket) -> None:
    connection.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    received = b""
    while not _is_whole(received):
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("the server closed the prober's connection")
        received += more


def _is_whole(received: bytes) -> bool:
    head, blank, body = received.lower().partition(b"\r\n\r\n")
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    return bool(blank) and len(body) >= int(length)


if __name__ == "__main__":
    main(int(sys.argv[1]))
