"""Requests that wait to be sent: which travel together, when they leave, and how the upstream's limits delay them."""
