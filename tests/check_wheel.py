"""Checks a wheel's contents and that it works alone, with the lean dependencies. Run by `nox -s package`."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata_name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(metadata_name).decode())
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        assert b"autobatcher = autobatcher.cli:main" in archive.read(entry_points)
    assert {"autobatcher/__init__.py", "autobatcher/py.typed", "autobatcher/cli/__init__.py"} <= names
    packaged = [name for name in names if not name.startswith("autobatcher")]
    assert not packaged, f"the wheel holds more than the package: {packaged}"
    lean = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    found = sorted(line.split(">")[0].split("<")[0].strip() for line in lean)
    assert found == ["anyio", "certifi", "h11", "httpcore", "httpx", "idna", "msgspec", "openai", "pydantic"], found
    script = "import autobatcher; autobatcher.BatchOpenAI(api_key='k'); print(autobatcher.__version__)"
    version = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert version.stdout.strip() == metadata["Version"]
    # Without the extra, the command says in one line what to install.
    bare = subprocess.run([sys.executable, "-m", "autobatcher", "demo"], capture_output=True, text=True, cwd="/")
    assert bare.returncode == 2, bare
    assert "autobatcher[serve]" in bare.stderr
    assert len(bare.stderr.strip().splitlines()) == 1
    print(f"{wheel}: {len(names)} files, works alone")


if __name__ == "__main__":
    main(sys.argv[1])
