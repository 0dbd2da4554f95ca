"""Progress that people and programs see: for the library, the demo, the proxy and files of calls alike.

snapshot.py   how far things are, as a frozen value
sentence.py   a snapshot as a line
picture.py    a snapshot as a picture for a terminal; imports rich
displays.py   where snapshots are shown: a terminal, a notebook, a log, a function
choice.py     which of them
thread.py     the thread that shows them, beside an event loop that it never holds up
"""
