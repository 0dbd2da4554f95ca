"""nginx in front of the replicas: round robin, and no request is sent twice by nginx itself."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

PROGRAM = "/usr/sbin/nginx"

ACCESS = "nginx-access.log"

_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-errors.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 8192; }}
http {{
  log_format fleet '$msec $http_x_fleet_text retry=$http_x_stainless_retry_count '
                   '$upstream_addr $upstream_status -> $status in $request_time';
  access_log {folder}/{access} fleet;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream fleet {{
{servers}
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://fleet;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host 127.0.0.1;
      proxy_set_header x-fleet-text "";  # for this log alone: what differs by header travels in batches of its own
      proxy_buffering off;
      proxy_connect_timeout 2s;
      proxy_read_timeout 1h;
      # A refused connection goes to the next replica. A POST that was sent is never sent again: that is the client's
      # to do, who says that it is a retry.
      proxy_next_upstream error;
      proxy_ignore_client_abort off;
    }}
  }}
}}
"""


@asynccontextmanager
async def nginx(folder: Path, port: int, replicas: Sequence[int]) -> AsyncIterator[None]:
    """Serve on `port` what listens on the ports of `replicas`, while the block runs."""
    servers = "\n".join(f"    server 127.0.0.1:{each} max_fails=0;" for each in replicas)
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, servers=servers, access=ACCESS))
    process = await trio.lowlevel.open_process(
        [PROGRAM, "-p", str(folder), "-e", str(folder / "nginx-errors.log"), "-c", str(config)],
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                break
            except OSError:
                assert process.returncode is None, (folder / "nginx-errors.log").read_text()
                await trio.sleep(0.02)
        yield
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


def read_passed_on(folder: Path) -> list[str]:
    """A line for each request: when it ended, which text, which retry, to whom it was passed on, and how that ended."""
    return (folder / ACCESS).read_text().splitlines()
