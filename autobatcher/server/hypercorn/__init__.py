"""All code that depends on the internals of hypercorn.

worker.py           hypercorn's trio worker, with our connections
connection.py       hypercorn's connection, hardened against its client
lean_connection.py  the same in one task, for hypercorn 0.18
http2.py            hypercorn's HTTP/2, hardened; frame_budget.py: how many frames without a request it takes
sends.py            how long a client may take to read
listener.py         accepts connections while there is room
peer.py             whether a client is gone, before that was read
fair_queue.py       fairness when thousands of connections become ready at once
"""
