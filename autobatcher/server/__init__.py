"""The door for every other program: an OpenAI-compatible proxy on Quart-Trio, under hypercorn's trio worker.

app.py            what is served: `create_app(client)`
calls.py          the batchable calls: raw ASGI, heartbeats, true errors
pending_calls.py  calls without an answer yet, also those whose client went away and may come back
heartbeat.py      how often which client gets a heartbeat
exchange.py       one HTTP exchange: bodies within limits, responses that may begin early
report.py         what is going on; tally.py counts, metrics.py tells Prometheus, page.html shows a person
description.py    the OpenAPI description
file_limit.py     how many connections may be open
serving.py        client, app and worker together, from start-up to shutdown: `serve`
hypercorn/        the server under it: hypercorn's trio worker, made safe against its clients
"""

from __future__ import annotations

from .app import create_app
from .calls import CallLimits
from .report import Prices, Report
from .serving import serve
from .tally import Tally

__all__ = ["create_app", "CallLimits", "Prices", "Report", "Tally", "serve"]
