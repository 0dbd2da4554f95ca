"""Requests that wait to be sent: which travel together, when they go, and when the upstream has room for them."""
