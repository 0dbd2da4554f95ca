"""The groups in which `--help` shows the flags of commands."""

from __future__ import annotations

UNGROUPED = "Others"
"""The title of flags that are in no group."""

GROUPS: dict[str, tuple[str, ...]] = {
    "Batches": ("all", "older-than", "taken", "force", "upstream", "all-upstream", "interval", "forget-gone"),
    "Calls": (
        *("output", "errors", "endpoint", "ordered", "strict", "limit", "plan"),
        *("requests", "like", "batch-seconds", "model", "embedding-model", "rehearse"),
    ),
    "Upstream": ("base-url", "api-key", "api-key-file", "provider", "no-check", "upload-timeout"),
    "Clients": (
        *("host", "port", "allowed-host", "cors-origin", "proxy-key", "proxy-key-file", "forward-keys"),
        *("public-status", "webhook-secret", "webhook-secret-file", "heartbeat", "grace", "drain"),
    ),
    "Batching": (
        *("batch-size", "batch-window", "poll-interval", "completion-window", "batch-metadata", "max-retries"),
        *("missing-lines", "deadline-slack", "keep-active-batches-on-close", "keep-input-files"),
    ),
    "Deadlines and lanes": ("deadline", "lanes", "on-overrun", "on-missed", "lane-concurrency"),
    "Limits": (
        *("max-active-batches", "max-queued-bytes", "max-answer-bytes", "max-waiting", "max-waiting-bytes"),
        *("max-body-bytes", "ahead", "ahead-bytes"),
    ),
    "Money": (
        *("max-cost", "max-cost-per-key", "budget", "unknown-prices", "prices"),
        *("input-price", "output-price", "saving", "batch-discount"),
    ),
    "Journal": ("journal", "journal-hash-only", "journal-patience", "journal-retention"),
    "Output": ("events", "request-log", "receipt", "summary-json", "progress", "json", "wide", "log-level"),
    "Configuration": ("config",),
}
"""Of `serve`, `run`, `batch` and `demo`, and of the commands that look after batches."""

EMULATOR_GROUPS: dict[str, tuple[str, ...]] = {
    "Server": ("host", "port", "allowed-host", "cors-origin", "api-key", "api-key-file"),
    "Behaviour": (
        *("like", "batch-seconds", "cancelling-seconds", "realtime-seconds", "flex-seconds", "max-bytes", "faults"),
        "bill-prices",
    ),
    "Webhooks": ("webhook", "webhook-secret", "webhook-secret-file"),
    "Forwarding": ("forward-to", "forward-key", "forward-key-file", "forward-concurrency"),
}
"""Of `emulate`."""
