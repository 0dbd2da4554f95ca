"""Who reads how to install gets this generation, not the one that the registry has under the same name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import DOCS, ROOT

ON_THE_REGISTRY = (
    "`pip install autobatcher` gets version 0.12 from the registry, which works differently, until 1.0 is there."
)
"""Once 1.0 is there this is no longer so: docs/release.md."""

NEWCOMERS = ("README.md", "docs/index.md", "docs/tutorial.md", "docs/library.md", "docs/migration.md", "docs/ci.md")
"""They tell somebody who has nothing yet how to install."""

_COMMAND = r"\b(?:(?:pip|pipx|uv|poetry|pdm) [^\n`&;|]*?\b(?:install|add|run)|uvx)\b"
_NAME = r"(?<![\w/.-])autobatcher(?:\[[\w,]+\])?(?:(?P<bound>[>=~]=[1-9])|(?![\w./-]))"
_INSTALLS = re.compile(rf"{_COMMAND}[^\n`&;|]*?{_NAME}")


def pages() -> list[Path]:
    return sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")})


def installs_what_the_registry_has(text: str) -> bool:
    """Whether a command names the package without a version from 1 on."""
    return any(found["bound"] is None for found in _INSTALLS.finditer(text))


def says_what_the_registry_has(text: str) -> bool:
    return ON_THE_REGISTRY in " ".join(text.split())


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_that_installs_by_name_says_what_the_registry_has(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert says_what_the_registry_has(text) or not installs_what_the_registry_has(text)


@pytest.mark.parametrize("page", NEWCOMERS)
def test_a_page_for_newcomers_says_what_the_registry_has(page: str) -> None:
    assert says_what_the_registry_has((ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("command", "is_found"),
    [
        ("pip install autobatcher", True),
        ("pip install 'autobatcher[serve,money]' pytest", True),
        (".venv/bin/pip install --quiet autobatcher", True),
        ("uv add autobatcher", True),
        ("uv tool install 'autobatcher[serve]'", True),
        ("pip install --find-links wheels 'autobatcher[serve]>=1'", False),
        ("pip install 'autobatcher==1.2.0'", False),
        ("pip install 'autobatcher>=0.12'", True),
        ("pip index versions autobatcher", False),
        ("pip install '.[serve]'", False),
        ("pip install dist/autobatcher-1.0.0-py3-none-any.whl", False),
        ("pip install '.[serve]' && .venv/bin/autobatcher demo", False),
    ],
)
def test_a_command_that_would_get_the_other_generation_is_found(command: str, is_found: bool) -> None:
    assert installs_what_the_registry_has(f"```bash\n{command}\n```\n") is is_found
