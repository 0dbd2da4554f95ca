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
from autobatcher.cli.flag_groups import GROUPS
from autobatcher.client.arguments import ClientArguments
from autobatcher.engine.setting import Described, descriptions
from autobatcher.engine.units import format_duration, format_size

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
CLIENT = Path(autobatcher.client.openai.__file__)

WIDTH = 120
MINUTE, MEGABYTE = 60, 1_000_000

EVENTS = "Events and progress"
PAGE_GROUPS = ("Upstream", "Batching", "Deadlines and lanes", "Money", "Journal", "Limits", EVENTS)
_WITHOUT_FLAGS = {
    "Batching": ("ignore_timeouts", "cancel_abandoned_batches"),
    "Money": ("max_cost_per_account",),
    "Limits": ("isolate_accounts",),
    EVENTS: ("batch_event_handler", "progress", "tracing"),
}
"""Settings that the command line does not have."""


def main() -> None:
    for path, text in written():
        path.write_text(text)


def written() -> Iterator[tuple[Path, str]]:
    """Each file, and what it should be."""
    yield PAGE, _between(PAGE.read_text(), "<!-- table: settings -->\n", "<!-- end of table -->", f"\n{tables()}\n")
    yield CLIENT, _between(CLIENT.read_text(), "    Args:\n", "        **openai_arguments:", docstring())


def _between(text: str, begin: str, end: str, new: str) -> str:
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{new}{end}{after}"


def tables() -> str:
    """Those of the page, one for each group."""
    rows: dict[str, list[str]] = {title: [] for title in PAGE_GROUPS}
    for each in _described():
        rows[_group_of(each)] += _rows(each)
    head = "| parameter | flag | default | meaning |\n|---|---|---|---|"
    return "\n\n".join(f"### {title}\n\n{head}\n" + "\n".join(rows[title]) for title in PAGE_GROUPS) + "\n"


def _group_of(described: Described) -> str:
    """The group that `--help` has its flag in; without a flag, the one named here."""
    without = (title for title, names in _WITHOUT_FLAGS.items() if described.name in names)
    with_flags = (title for title, names in GROUPS.items() if described.flag in names)
    return next(without, None) or next(with_flags)


def _rows(described: Described) -> Iterator[str]:
    """One, or two where parameter and flag are opposites."""
    flag = described.setting.flag
    is_opposite = flag is not None and flag.negates
    shown = "" if is_opposite else _flag(described)
    yield f"| `{described.name}` | {shown} | {_default(described)} | {_meaning(described.setting.help)} |"
    if flag is not None and is_opposite:
        assert flag.help is not None, "an opposite needs words of its own"
        yield f"| | {_flag(described)} | not given | {_meaning(flag.help)} |"


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


def _meaning(words: str) -> str:
    """With links to the pages that they name."""
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", words)


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
