"""Names of other projects that docstrings mention, so that references are strict without a network, too.

Sphinx asks each project for its list of names. Where it gets none, it takes the list that is written here from
`NAMES`: what our own docstrings and signatures mention.
"""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path

URLS = {
    "python": "https://docs.python.org/3/",
    "anyio": "https://anyio.readthedocs.io/en/stable/",
    "trio": "https://trio.readthedocs.io/en/stable/",
}

NAMES = {
    "python": {
        "library/functions.html": "class:bool class:bytes class:dict class:float class:int class:list class:object "
        "class:str class:tuple class:type",
        "library/collections.abc.html": "class:collections.abc.AsyncIterable "
        "class:collections.abc.AsyncIterator class:collections.abc.Awaitable class:collections.abc.Callable "
        "class:collections.abc.Iterable class:collections.abc.Iterator "
        "class:collections.abc.Mapping class:collections.abc.Sequence",
        "library/collections.html": "class:collections.Counter",
        "library/constants.html": "data:None",
        "library/datetime.html": "class:datetime.date class:datetime.datetime",
        "library/decimal.html": "class:decimal.Decimal",
        "library/exceptions.html": "exception:Exception exception:RuntimeError exception:TypeError "
        "exception:ValueError",
        "library/os.html": "class:os.PathLike",
        "library/socket.html": "class:socket.socket",
        "library/typing.html": "data:typing.Any class:typing.Self",
    },
    "anyio": {"api.html": "class:anyio.abc.TaskStatus"},
    "trio": {"reference-core.html": "class:trio.Event class:trio.TaskStatus"},
}
"""By project and page: roles and names of Python's domain."""


def mapping() -> dict[str, tuple[str, tuple[str | None, ...]]]:
    """For `intersphinx_mapping`: the project's own list first."""
    return {project: (url, (None, str(_written(project)))) for project, url in URLS.items()}


_FOLDER = tempfile.TemporaryDirectory(prefix="autobatcher-docs-")
"""Goes when Sphinx has ended."""


def _written(project: str) -> Path:
    """A list in the format of `objects.inv`."""
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    lines = "".join(
        f"{name} py:{role} 1 {page}#$ -\n"
        for page, names in NAMES[project].items()
        for role, name in (each.split(":") for each in names.split())
    )
    path = Path(_FOLDER.name, f"{project}.inv")
    path.write_bytes(head.encode() + zlib.compress(lines.encode()))
    return path
