"""The field's proof: what callers get, and pay, when a Batch API has a bad day, with autobatcher and with its peers."""
