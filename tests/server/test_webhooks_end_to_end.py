"""The emulator's webhooks go over a real socket into a proxy that polls nothing by itself."""

from __future__ import annotations

import trio

from autobatcher.emulator import Webhook
from autobatcher.server import Report
from autobatcher.server.hypercorn.worker import listen
from tests.harness import open_harness
from tests.server.proxies import on_real_trio, open_replica
from tests.server.webhooks import SECRET

pytestmark = on_real_trio
LIMIT = 60


async def test_the_upstream_says_that_a_batch_has_ended_and_its_callers_have_their_answers() -> None:
    sockets, report = listen("127.0.0.1", 0), Report()
    webhook = Webhook(f"http://127.0.0.1:{sockets[0].getsockname()[1]}/webhooks", SECRET)
    app = {"webhook_secrets": [SECRET], "proxy_key": "sesame", "report": report}
    with trio.fail_after(LIMIT):
        async with (
            open_harness(batch_seconds=0.5, webhook=webhook) as harness,
            open_replica(harness, app=app, sockets=sockets, poll_interval_seconds=1_000.0) as proxy,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(harness.emulator.run)
            async with proxy.openai().with_options(api_key="sesame") as sdk:
                completion = await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
            assert completion.choices[0].message.content == "x"
            assert report.tally.webhooks == {"batch": 1}
            nursery.cancel_scope.cancel()
