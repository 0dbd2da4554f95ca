"""The engine: windows, batches, and the nursery in which they live. Knows no SDK and no web framework."""
