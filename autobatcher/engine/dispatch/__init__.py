"""Which lane requests take, and the calls on those that are no batches."""
