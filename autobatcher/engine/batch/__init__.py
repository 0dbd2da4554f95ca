"""One batch: its phases, its upstream half, the requests that wait for it, and reading its results."""
