from __future__ import annotations

import json

import trio

from tests.harness import wait_for_event
from tests.server.proxies import on_real_trio, open_proxy

pytestmark = on_real_trio
CLIENTS = 2_000


async def test_two_thousand_clients_waiting_at_once_get_their_own_answers() -> None:
    with trio.fail_after(55):
        async with open_proxy(batch_size=CLIENTS, batch_window_seconds=60, emulator={"batch_seconds": 1.0}) as proxy:
            right = 0

            async def visit(number: int) -> None:
                nonlocal right
                text = f"caller-{number}."
                body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
                head = (
                    "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                    f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                )
                stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
                async with stream:
                    await stream.send_all(head.encode() + body)
                    answer = b"".join([chunk async for chunk in stream])
                assert answer.startswith(b"HTTP/1.1 200")
                content = json.loads(answer.partition(b"\r\n\r\n")[2])["choices"][0]["message"]["content"]
                right += text in content

            async with trio.open_nursery() as nursery:
                for number in range(CLIENTS):
                    nursery.start_soon(visit, number)
                # One batch of all of them: every one was waiting when it was submitted.
                await wait_for_event(proxy.harness, "batch_submitted")
            assert right == CLIENTS
            assert [event["request_count"] for event in proxy.harness.events_named("batch_submitted")] == [CLIENTS]
