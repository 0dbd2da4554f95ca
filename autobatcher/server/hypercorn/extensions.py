"""What our connections tell an app beyond ASGI, as extensions of a scope. Other servers tell nothing of it."""

from __future__ import annotations

BODY_IS_HERE = "autobatcher.body_is_here"
"""There if an app need not wait for the body."""

IS_LISTENING = "autobatcher.is_listening"
"""A function that says whether the app's task waits for its client to send something else, or to go.

Meanwhile another task may send for it. That never waits, but raises `trio.WouldBlock` if the app's task must send the
rest: with the end of the response, even if that has no bytes."""

HEADER_MEMORY = "autobatcher.header_memory"
"""A dict for what an app reads of the headers, but for the length of the body. The next request that has the same
headers comes with the same dict."""
