"""Replicas of the proxy that share a journal, and what a bad day does to them. `python -m tests.fleet` runs one."""
