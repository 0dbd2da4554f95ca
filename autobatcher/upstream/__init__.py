"""The wire: files, batches and lines of the upstream's Batch API. Knows nothing of callers, windows or SDKs."""
