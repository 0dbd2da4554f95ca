"""`python tests/providers_docs.py`: writes the tables of docs/providers.md, from the profiles themselves.

`nox -s settings` calls this; tests/docs/test_providers_docs.py asserts that it was called.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from autobatcher.upstream.providers import BATCHABLE_ENDPOINTS, KNOWN_PROFILES, ProviderProfile

DOCUMENT = Path(__file__).parent.parent / "docs" / "providers.md"
MEGABYTE = 1_000_000


def main() -> None:
    DOCUMENT.write_text(written())


def written() -> str:
    """What the document should be."""
    text = _between(DOCUMENT.read_text(), "<!-- table: providers -->\n", f"\n{providers()}\n")
    return _between(text, "<!-- table: fields -->\n", f"\n{profile_fields()}\n")


def _between(text: str, begin: str, new: str) -> str:
    before, _, rest = text.partition(begin)
    _, end, after = rest.partition("<!-- end of table -->")
    return f"{before}{begin}{new}{end}{after}"


def providers() -> str:
    head = "| provider | hosts | endpoints | may mix | requests | file | windows | source |"
    rows = (
        f"| `{each.name}` | {', '.join(each.hosts) or '-'} | {_endpoints(each)} | {_mixes(each)} "
        f"| {each.max_requests:,} | {_megabytes(each.max_file_bytes)} | {_windows(each)} | {each.source or '-'} |"
        for each in KNOWN_PROFILES
    )
    return "\n".join((head, "|---|---|---|---|---|---|---|---|", *rows))


def profile_fields() -> str:
    """From the docstring of the class, which names each field once."""
    meanings = inspect.getdoc(ProviderProfile) or ""
    found = re.findall(r"^    (\w+): (.+(?:\n        .+)*)", meanings.partition("Attributes:")[2], flags=re.MULTILINE)
    rows = (f"| `{name}` | {' '.join(meaning.split())} |" for name, meaning in found)
    return "\n".join(("| field | meaning |", "|---|---|", *rows))


def _endpoints(profile: ProviderProfile) -> str:
    if profile.endpoints == BATCHABLE_ENDPOINTS:
        return "all"
    return ", ".join(profile.line_url(endpoint) for endpoint in sorted(profile.endpoints))


def _mixes(profile: ProviderProfile) -> str:
    allowed = {"endpoints": profile.mixes_endpoints, "models": profile.mixes_models}
    return " and ".join(what for what, mixes in allowed.items() if mixes) or "nothing"


def _windows(profile: ProviderProfile) -> str:
    if profile.completion_windows is None:
        return "not known"
    shortest, longest = profile.completion_windows
    return shortest if shortest == longest else f"{shortest} to {longest}"


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:,.0f} MB"


if __name__ == "__main__":
    main()
