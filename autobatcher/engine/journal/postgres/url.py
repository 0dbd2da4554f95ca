"""What a URL says of a journal on PostgreSQL, for this package. A setting is checked by it, so it is further below."""

from __future__ import annotations

from ...journal_url import is_postgres, libpq_url, schema_of, shown

__all__ = ["is_postgres", "libpq_url", "schema_of", "shown"]
