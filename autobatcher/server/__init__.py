"""The door for every other program: an OpenAI-compatible proxy on Quart-Trio, under hypercorn's trio worker.

app.py      what is served: `create_app(client)`
tally.py    what went through, counted
worker.py   hypercorn's trio worker, made safe against its clients
serving.py  client, app and worker together, from start-up to the last goodbye: `serve`
"""

from __future__ import annotations

from .app import create_app
from .serving import serve
from .tally import Tally

__all__ = ["create_app", "Tally", "serve"]
