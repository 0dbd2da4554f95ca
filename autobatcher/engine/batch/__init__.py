"""One batch: its phases, its upstream side, its pending requests, and its results."""
