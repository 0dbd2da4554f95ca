"""An OpenAI-compatible proxy for programs in any language, on Quart-Trio and hypercorn's trio worker.

app.py            the routes: `create_app(client)`; views.py: those that Quart serves
hosts.py          which hosts and origins are served; browser_headers.py: what browsers may do with a response
access.py         which routes need the proxy's key
keys.py           keys of callers, and how wrong ones are slowed down
caller_headers.py which header values of callers can be used and passed on
models.py         model lookups; relayed.py: what the upstream answers to them
refusals.py       the response to a refused request
calls.py          the batchable calls: raw ASGI, errors
client_wait.py    what a client is sent while it waits, and at the end
pending_call.py   a call without an answer, and its clients
pending_calls.py  all calls without an answer, and calls whose client disconnected and may return
sent_answers.py   answers that were sent, and may not have been read
retries.py        which request is a retry of which call; equal_calls.py: calls with the same caller and body
heartbeat.py      the heartbeat interval of a client; heartbeats.py: when each heartbeat is due
body_limiter.py   how many bytes of bodies are held
exchange.py       one HTTP exchange: bodies within limits, responses that may begin early
costs.py          what the calls cost, priced in a worker thread
fleet.py          the engines that share the journal
overview.py       the longer parts of the status
batch_rows.py     batches as rows; batch_costs.py: what each one cost
waiting_kinds.py  what waits, by kind; history.py: the last minutes
failed_lines.py   the newest requests that failed, and why
request_log.py    a log of the calls in a file, appended_file.py, which logrotate may move
webhooks.py       a provider says that a batch has ended; webhook_event.py: whether it is genuine, and which batch
report.py         the state of the proxy
tally.py          counts of requests; model_counts.py: by model
batch_counts.py   counts of batches; upstream_calls.py: of upstream calls; billed_sums.py: of what was billed
metrics.py        for Prometheus; metrics_catalogue.py: each metric; labels.py, histogram.py: what series are made of
paths.py          what may be passed on of a path
description.py    the OpenAPI description
page/             the live page: page.html with its style and scripts
file_limit.py     the limit of open files
drain.py          what runs is waited for before a proxy stops
serving.py        `serve`: client, app and worker, from start-up to shutdown
hypercorn/        hypercorn's trio worker, hardened against clients
"""

from __future__ import annotations

from .app import create_app
from .calls import CallLimits
from .drain import Drain
from .hosts import ServedHosts, served_hosts
from .report import Report
from .serving import serve
from .tally import Tally

__all__ = ["create_app", "CallLimits", "Drain", "Report", "ServedHosts", "Tally", "serve", "served_hosts"]
