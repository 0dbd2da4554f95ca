"""Requests that come back after a crash or a disconnect, and the lines and answers that are kept for them."""
