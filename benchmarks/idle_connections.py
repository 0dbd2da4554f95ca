"""What connections without a request cost the proxy: `python benchmarks/idle_connections.py [COUNT]`.

By hand, on Linux. The proxy is a process of its own. Needs twice COUNT open files.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from autobatcher.server.file_limit import raise_file_limit

COMMAND = [
    *(sys.executable, "-m", "autobatcher", "serve", "--port", "0", "--api-key", "k"),
    *("--base-url", "http://127.0.0.1:9/v1"),
]
OPENINGS = {
    "silent": b"",
    "half a head": b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5),
}


def resident_kb(process_id: int) -> int:
    """Memory of a process in kB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process_id}/status").read_text())
    assert found is not None
    return int(found[1])


def cost(opening: bytes, count: int) -> float:
    """Memory for each connection in kB."""
    with subprocess.Popen(COMMAND, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as proxy:
        assert proxy.stderr is not None
        port = int(re.findall(r"http://127\.0\.0\.1:(\d+)/v1", proxy.stderr.readline())[0])
        before = resident_kb(proxy.pid)
        connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        for connection in connections:
            connection.sendall(opening)
        time.sleep(5)  # until the proxy has read all of it
        each = (resident_kb(proxy.pid) - before) / count
        for connection in connections:
            connection.close()
        proxy.terminate()
    return each


if __name__ == "__main__":
    raise_file_limit()
    connection_count = int(sys.argv[1]) if len(sys.argv) > 1 else 8_000
    for name, sent in OPENINGS.items():
        print(f"{connection_count:,} connections, {name}: {cost(sent, connection_count):.1f} kB each", flush=True)
