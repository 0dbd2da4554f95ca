"""`python tests/settings_docs.py`: writes what docs/settings.md and the docstring of `BatchOpenAI` say of the settings.

Both are made from the descriptions in autobatcher/engine/settings.py and autobatcher/client/arguments.py. `nox -s
settings` calls this; tests/docs/test_settings_docs.py asserts that it was called.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import autobatcher.client.openai
from autobatcher.client.arguments import ClientArguments
from autobatcher.engine.setting import Described, descriptions
from autobatcher.engine.units import format_duration, format_size

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
CLIENT = Path(autobatcher.client.openai.__file__)

WIDTH = 120
MINUTE, MEGABYTE = 60, 1_000_000


def main() -> None:
    for path, text in written():
        path.write_text(text)


def written() -> Iterator[tuple[Path, str]]:
    """Each file, and what it should be."""
    yield PAGE, _between(PAGE.read_text(), "<!-- table: settings -->\n", "<!-- end of table -->", f"\n{table()}\n")
    yield CLIENT, _between(CLIENT.read_text(), "    Args:\n", "        **openai_arguments:", docstring())


def _between(text: str, begin: str, end: str, new: str) -> str:
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{new}{end}{after}"


def table() -> str:
    """That of the page."""
    rows = [f"| `{each.name}` | {_flag(each)} | {_default(each)} | {_meaning(each)} |" for each in _described()]
    return "\n".join(("| parameter | flag | default | meaning |", "|---|---|---|---|", *rows))


def docstring() -> str:
    """The part of the docstring that names them."""
    return "".join(
        textwrap.fill(
            f"{each.name}: {each.setting.help}.",
            WIDTH,
            initial_indent=" " * 8,
            subsequent_indent=" " * 12,
            break_on_hyphens=False,
        )
        + "\n"
        for each in _described()
    )


def _described() -> tuple[Described, ...]:
    return descriptions(ClientArguments)


def _flag(described: Described) -> str:
    return "" if described.flag is None else f"`--{described.flag}`"


def _meaning(described: Described) -> str:
    """With links to the pages that it names."""
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", described.setting.help)


def _default(described: Described) -> str:
    setting, value = described.setting, described.default
    if setting.shown_default is not None:
        return setting.shown_default
    if setting.unit == "seconds" and value >= MINUTE:
        return f"{value} ({format_duration(value)})"
    if setting.unit == "bytes" and value >= MEGABYTE:
        return f"{value} ({format_size(value)})"
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    main()
