"""The engine: windows, batches, and the nursery they run in. Knows no SDK and no web framework."""
