"""Checks what a wheel says of itself, and that it works alone, with the lean dependencies. Run by `nox -s package`."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
LEAN = ["anyio", "certifi", "h11", "httpcore", "httpx", "idna", "msgspec", "openai", "pydantic"]


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name.partition(".dist-info/")[2] or name: archive.read(name) for name in archive.namelist()}
    metadata = Parser().parsestr(files["METADATA"].decode())
    assert {"autobatcher/py.typed", "autobatcher_pytest/py.typed"} <= files.keys()
    assert b"autobatcher = autobatcher.cli:main" in files["entry_points.txt"]
    assert b"autobatcher_pytest = autobatcher_pytest" in files["entry_points.txt"]
    _check_dependencies(metadata)
    _check_description(str(metadata.get_payload()))
    _check_that_it_works_alone(metadata["Version"])
    print(f"{wheel}: works alone")


def _check_dependencies(metadata: Message) -> None:
    lean = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(re.split(r"[<>=]", line)[0].strip() for line in lean) == LEAN, lean
    assert sorted(metadata.get_all("Provides-Extra", [])) == sorted(PROJECT["optional-dependencies"])


def _check_description(text: str) -> None:
    """A registry shows it, where a link into the repository leads nowhere."""
    links: list[str] = re.findall(r"\]\(([^)\s]+)\)", text)
    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def _check_that_it_works_alone(version: str) -> None:
    script = "import autobatcher; autobatcher.BatchOpenAI(api_key='k'); print(autobatcher.__version__)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert told.stdout.strip() == version == PROJECT["version"]
    # Without the extra, the command says in one line what to install.
    bare = subprocess.run([sys.executable, "-m", "autobatcher", "demo"], capture_output=True, text=True, cwd="/")
    assert bare.returncode == 2, bare
    assert "autobatcher[serve]" in bare.stderr
    assert len(bare.stderr.strip().splitlines()) == 1


if __name__ == "__main__":
    main(sys.argv[1])
