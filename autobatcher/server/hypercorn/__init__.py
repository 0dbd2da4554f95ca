"""All code that depends on the internals of hypercorn.

worker.py           hypercorn's trio worker, with our connections
connection.py       hypercorn's connection, hardened against its client
plain_connection.py the same in one task as long as its requests are plain; http1.py: hypercorn's HTTP/1.1, hardened
plain_head.py       what is plain: pure; plain_exchange.py: ASGI for it; plain_response.py: the response: pure
wire.py             the bytes of a connection that one task reads and writes
extensions.py       what our connections tell an app beyond ASGI
http2.py            hypercorn's HTTP/2, hardened; frame_budget.py: how many frames without a request it takes
task_group.py       hypercorn's task group, hardened against apps that end early
sends.py            how long a client may take to read
listener.py         accepts connections while there is room
peer.py             whether a client is gone, before that was read
fair_queue.py       fairness when thousands of connections become ready at once
"""
