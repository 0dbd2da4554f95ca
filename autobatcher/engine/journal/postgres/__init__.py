"""The journal on PostgreSQL, shared by any number of processes. psycopg is imported only if it is used.

store.py        `PostgresStore`: batches, lines and answers           ◄ start here; each stands on the next
adoption.py     batches that change hands
claims.py       lines that one engine runs, and another one waits for
batch_rows.py   the records of batches
kept.py         what was paid and learned
sessions.py     which engines live: a lock of the server for each
connection.py   transactions, and a connection that is lost and comes back
shared_store.py the store of one engine, for the writer
listener.py     what other sessions announce
shared.py       what these statements return
schema.py       the tables, and migrations of older ones
pooler.py       a pooler that cannot hold locks is refused
errors.py       whose fault a failure is
reading.py      a journal for everybody but an engine
report.py       whether engines can use it, and who does
url.py          what its URL says
"""
