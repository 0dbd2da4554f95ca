"""Requests that find their line or answer in an earlier batch, and what batches record in the journal."""
