"""Spans and metrics of calls and batches, for OpenTelemetry. Imported only if tracing is on; see docs/tracing.md."""
