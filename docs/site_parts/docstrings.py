"""Docstrings as this project writes them, made into reStructuredText. `rest` is pure.

Sections (`Args:`, `Attributes:`, `Raises:`, `Returns:`) become fields, indented paragraphs examples, and `names` in
backticks links if they are public names, which Sphinx then checks. Everything else is text.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

import autobatcher
from autobatcher import emulator, errors, events, server

AFTER_TYPES = 800
"""Sphinx itself adds types at 500."""

MODULES = (autobatcher, server, errors, events)
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns):\s*(.*)")
_ENTRY = re.compile(r"( *)(\**\w+(?:, \w+)*): (.*)")
_ITEM = re.compile(r'(kind "\w+"|[a-z_]+(?:, [a-z_]+)*): +(.+)')
_PAGE = re.compile(r"docs/(\w+)\.md")
_CODE = re.compile(r"`([^`]+)`")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _process_signature)
    app.connect("autodoc-skip-member", _is_described_elsewhere)
    app.connect("object-description-transform", _without_noise, priority=AFTER_TYPES)
    return {"parallel_read_safe": True}


def _process_signature(*event: Any) -> tuple[str | None, str | None]:
    """Defaults that are objects say nothing."""
    signature, returned = event[-2:]
    return signature and re.sub(r"=<.*?>(?=[,)])", "=...", re.sub(r", _\w+=\w+", "", signature)), returned


def _without_noise(app: Sphinx, domain: str, kind: str, content: nodes.Element) -> None:
    """That nothing is returned, and what is private."""
    for field in list(content.findall(nodes.field)):
        name, text = field[0].astext(), field[1].astext()
        if (name, text) == ("rtype", "None") or name.rpartition(" ")[2].startswith("_"):
            field.parent.remove(field)
    for fields in list(content.findall(nodes.field_list)):
        if not fields.children:
            fields.parent.remove(fields)


def _is_described_elsewhere(*event: Any) -> bool | None:
    """Leave out the fields of a `NamedTuple`: "Alias for field number 0". Its docstring describes them."""
    return True if type(event[3]).__name__ == "_tuplegetter" else None


def _process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = rest(lines, parameters=_parameters(obj), link=_emulators if ".emulator" in name else _ours)


def _parameters(obj: Any) -> Collection[str]:
    """What can be passed to a class: then its attributes are described as that, with their types."""
    try:
        is_error = isinstance(obj, type) and issubclass(obj, BaseException)
        return () if is_error else inspect.signature(obj).parameters.keys()
    except (TypeError, ValueError):
        return ()


def rest(lines: list[str], *, parameters: Collection[str], link: Callable[[str], str | None]) -> list[str]:
    """The lines of a docstring, as reStructuredText.

    Args:
        lines: without the common indentation.
        parameters: the attributes that are parameters, too.
        link: the full name of a public thing; None for anything else.
    """
    out: list[str] = []
    for title, body in _sections(lines):
        if title in ("Args", "Attributes"):
            out += _fields(body, parameters if title == "Attributes" else None, link)
        elif title == "Raises":
            out += [f":raises {name}: {_inline(text, link)}" for name, text in _entries(body)]
        elif title == "Returns":
            out += [f":returns: {_inline(' '.join(line.strip() for line in body), link)}"]
        else:
            out += _text(body, link)
        out.append("")
    return out


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each section, and the text between sections under the title ""."""
    title = ""
    body: list[str] = []
    for line in lines:
        found = _SECTION.fullmatch(line)
        ends = title != "" and line.strip() != "" and not line.startswith(" ")
        if found or ends:
            yield title, body
            title, body = ("", [line]) if found is None else (found[1], [found[2]] if found[2] else [])
        else:
            body.append(line)
    yield title, body


def _entries(body: list[str]) -> Iterator[tuple[str, str]]:
    """Names and what is said of them; lines that are indented further belong to the one before."""
    name, text = "", ""
    for line in body:
        found = _ENTRY.fullmatch(line)
        if found and len(found[1]) <= _indentation(body):
            if name:
                yield name, text
            name, text = found[2], found[3]
        else:
            text += f" {line.strip()}"
    if name:
        yield name, text.rstrip()


def _indentation(body: list[str]) -> int:
    return min((len(line) - len(line.lstrip()) for line in body if line.strip()), default=0)


def _fields(body: list[str], parameters: Collection[str] | None, link: Callable[[str], str | None]) -> Iterator[str]:
    for names, text in _entries(body):
        for name in names.split(", "):
            kind = "param" if parameters is None or name in parameters else "ivar"
            yield f":{kind} {name.replace('*', chr(92) + '*')}: {_inline(text, link)}"


def _text(body: list[str], link: Callable[[str], str | None]) -> Iterator[str]:
    """Paragraphs, lists of `name: text`, and examples: what is indented after an empty line."""
    state, last = "", ""
    for line in body:
        is_indented = line.startswith("    ")
        if item := _ITEM.fullmatch(line):
            yield from [""] * (state != "list")
            state = "list"
            yield f"* ``{item[1]}``: {_inline(item[2], link)}"
        elif is_indented and state == "list":
            yield f"  {_inline(line.strip(), link)}"
        elif is_indented and (state == "example" or not last.strip()):
            yield from [".. code-block:: python", ""] * (state != "example")
            state = "example"
            yield line
        else:
            state = state if not line.strip() else ""
            yield _inline(line, link)
        last = line


def _inline(text: str, link: Callable[[str], str | None]) -> str:
    """Backticks as literals or links; no other character means anything."""
    parts = _CODE.split(text)
    plain = [re.sub(r"([*|\\]|(?<=\w)_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
    code = [f":py:obj:`{name} <{target}>`" if (target := link(name)) else f"``{name}``" for name in parts[1::2]]
    plain = [_PAGE.sub(r":doc:`\1 </\1>`", part) for part in plain]
    between = [*code, ""]
    return "".join(text for pair in zip(plain, between, strict=True) for text in pair)


def _ours(name: str) -> str | None:
    return _linked(name, MODULES)


def _emulators(name: str) -> str | None:
    return _linked(name, (emulator,))


def _linked(name: str, modules: tuple[Any, ...]) -> str | None:
    """Where the site has it: an error or event is in its module, all else in the one that it is imported from."""
    first, _, below = name.partition(".")
    for module in reversed(modules):
        thing = getattr(module, first, None)
        is_here = module in (autobatcher, emulator, server) or getattr(thing, "__module__", "") == module.__name__
        if isinstance(thing, type) and is_here and (not below or callable(getattr(thing, below, None))):
            return f"{module.__name__}.{first}{'.' + below if below else ''}"
    return None
