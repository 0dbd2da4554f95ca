"""The door for every other program: an OpenAI-compatible proxy on Quart-Trio, under hypercorn's trio worker.

app.py           what is served: `create_app(client)`
calls.py         the batchable calls: raw ASGI, signs of life, true errors
pending_calls.py  requests whose client went away, and may come back
heartbeat.py     how long which client bears silence
exchange.py      one HTTP exchange: bodies within limits, responses that may begin early
report.py        what is going on; tally.py counts, metrics.py tells Prometheus, page.html shows a person
worker.py        hypercorn's trio worker, made safe against its clients
file_limit.py    how many connections may be open
serving.py       client, app and worker together, from start-up to the last goodbye: `serve`
"""

from __future__ import annotations

from .app import create_app
from .calls import CallLimits
from .report import Prices, Report
from .serving import serve
from .tally import Tally

__all__ = ["create_app", "CallLimits", "Prices", "Report", "Tally", "serve"]
