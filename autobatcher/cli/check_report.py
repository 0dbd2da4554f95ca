"""What `autobatcher check` found, as a table and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..printable import printable
from ..progress import shortened
from ..upstream.base_url import likely_base_url
from ..upstream.model_list import names_in
from ..upstream.probe import Answered
from ..upstream.providers import ProviderProfile
from ..upstream.verdict import CANNOT_LIST, Verdict, verdict_on

MOST_NAMED = 5
"""How many models are named in the table. The JSON has all of them."""

LONGEST_NAME = 80

ChosenBy = Literal["--provider", "host", "default"]

_CHOSEN = {
    "--provider": "by --provider",
    "host": "by the host",
    "default": "the host is not known, so the strictest rules",
}
_WORDS = {Verdict.WORKS: "yes", Verdict.CANNOT: "no", Verdict.MISSING: "no", Verdict.REFUSED: "refused"}


@dataclass(frozen=True, kw_only=True)
class Checked:
    """An upstream, and what it answered.

    Attributes:
        base_url: without secrets.
        found_at: the base URL at which there is an API, if there is none at `base_url`; None if nobody found one.
    """

    base_url: str
    profile: ProviderProfile
    chosen_by: ChosenBy
    batches: Answered
    files: Answered
    models: Answered
    found_at: str | None = None

    @property
    def is_reachable(self) -> bool:
        """Whether it answered at all."""
        return any(answer.was_heard for answer in self._answers)

    @property
    def key(self) -> Verdict:
        """Whether it accepts the key. Lists of models may be open to everybody, so they prove nothing."""
        verdicts = [verdict_on(answer) for answer in self._answers]
        if Verdict.WORKS in verdicts[:2]:
            return Verdict.WORKS
        return Verdict.REFUSED if Verdict.REFUSED in verdicts else Verdict.UNKNOWN

    @property
    def works(self) -> bool:
        """Whether batches can be expected to work: all that can be known without paying for one."""
        batches, files = verdict_on(self.batches), verdict_on(self.files)
        if self.profile.name in CANNOT_LIST:
            return self.key is not Verdict.REFUSED and self.is_reachable
        return batches is Verdict.WORKS and files is not Verdict.REFUSED

    @property
    def lacks_version(self) -> bool:
        """Whether the URL lacks the path of the API, such as /v1."""
        return self.found_at is not None

    @property
    def _answers(self) -> tuple[Answered, Answered, Answered]:
        return self.batches, self.files, self.models

    @property
    def refusal(self) -> str | None:
        """Why the key is refused; None if it is not."""
        return next((answer.failure for answer in self._answers if verdict_on(answer) is Verdict.REFUSED), None)


def rows(checked: Checked) -> Iterator[tuple[str, str]]:
    """The table: what was asked, then what the profile says."""
    yield from _answered(checked)
    yield from _documented(checked)


def _answered(checked: Checked) -> Iterator[tuple[str, str]]:
    yield "upstream", checked.base_url
    yield "reachable", _reachable(checked)
    yield "/v1", _version(checked)
    yield "key", _key(checked) + (f": {checked.refusal}" if checked.key is Verdict.REFUSED else "")
    yield "batches", _found(checked, checked.batches)
    yield "files", _found(checked, checked.files)
    yield "models", _found(checked, checked.models) if checked.models.failure else _models(checked.models)


def _documented(checked: Checked) -> Iterator[tuple[str, str]]:
    profile = checked.profile
    yield "profile", f"{profile.name} ({_CHOSEN[checked.chosen_by]})"
    yield "endpoints", ", ".join(sorted(name.removeprefix("/v1/") for name in profile.endpoints))
    yield "partial output", "yes, while a batch runs" if profile.partial_output else "no, at the end of a batch"
    yield "a batch", ", ".join(_limits(profile))
    yield "may mix", _mixes(profile)
    yield "windows", "unknown" if profile.completion_windows is None else _windows(profile.completion_windows)
    yield "flex", ", ".join(sorted(name.removeprefix("/v1/") for name in profile.flex_endpoints)) or "none known"


def _key(checked: Checked) -> str:
    return {Verdict.WORKS: "accepted", Verdict.REFUSED: "refused"}.get(checked.key, "unknown")


def _reachable(checked: Checked) -> str:
    if not checked.is_reachable:
        return f"no: {checked.batches.failure}"
    quickest = min(answer.seconds for answer in (checked.batches, checked.files, checked.models) if answer.was_heard)
    return f"yes, in {quickest:.2f} s"


def _version(checked: Checked) -> str:
    if checked.found_at is not None:
        return f"missing: use {checked.found_at}"
    if likely_base_url(checked.base_url) == checked.base_url:
        return "in the URL"
    return "not in the URL, and not needed" if _any_works(checked) else "not in the URL"


def _any_works(checked: Checked) -> bool:
    return any(verdict_on(answer) is Verdict.WORKS for answer in (checked.batches, checked.files, checked.models))


def _found(checked: Checked, answer: Answered) -> str:
    """Whether something is there, and why not, unless another row says so."""
    is_told = not checked.is_reachable or (checked.key is Verdict.REFUSED and answer.failure == checked.refusal)
    reason = "" if answer.failure is None or is_told else f": {answer.failure}"
    return _WORDS.get(verdict_on(answer), "unknown") + reason


def _models(answer: Answered) -> str:
    names = names_in(answer.content)
    if not names:
        return "none listed"
    first = ", ".join(shortened(printable(name), LONGEST_NAME) for name in names[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return f"{len(names):,} listed: {first}{more}"


def _limits(profile: ProviderProfile) -> Iterator[str]:
    yield f"{profile.max_requests:,} requests"
    yield f"{profile.max_file_bytes / 1e6:,.0f} MB"
    if profile.max_line_bytes is not None:
        yield f"{profile.max_line_bytes / 1e6:,.0f} MB a request"
    if profile.max_embedding_inputs is not None:
        yield f"{profile.max_embedding_inputs:,} embedding inputs"
    if profile.max_batches_per_hour is not None:
        yield f"{profile.max_batches_per_hour:,} batches an hour"


def _mixes(profile: ProviderProfile) -> str:
    mixed = [name for name, may in (("models", profile.mixes_models), ("endpoints", profile.mixes_endpoints)) if may]
    return " and ".join(mixed) or "neither models nor endpoints"


def _windows(windows: tuple[str, str]) -> str:
    return windows[0] if windows[0] == windows[1] else f"{windows[0]} to {windows[1]}"


def document(checked: Checked) -> dict[str, Any]:
    """The same for programs. Each of "batches", "files" and "models_listed" is "yes", "no", "refused" or "unknown"."""
    profile = checked.profile
    names = names_in(checked.models.content)
    asked = {"batches": checked.batches, "files": checked.files, "models_listed": checked.models}
    return {
        "works": checked.works,
        "base_url": checked.base_url,
        "found_at": checked.found_at,
        "lacks_version": checked.lacks_version,
        "reachable": checked.is_reachable,
        "key": _key(checked),
        **{name: _WORDS.get(verdict_on(answer), "unknown") for name, answer in asked.items()},
        "reasons": {name: answer.failure for name, answer in asked.items() if answer.failure is not None},
        "models": list(names),
        "profile": profile.name,
        "profile_chosen_by": checked.chosen_by,
        "endpoints": sorted(profile.endpoints),
        "flex_endpoints": sorted(profile.flex_endpoints),
        "partial_output": profile.partial_output,
        "mixes_models": profile.mixes_models,
        "mixes_endpoints": profile.mixes_endpoints,
        "completion_windows": None if profile.completion_windows is None else list(profile.completion_windows),
        "limits": {
            "max_requests": profile.max_requests,
            "max_file_bytes": profile.max_file_bytes,
            "max_line_bytes": profile.max_line_bytes,
            "max_embedding_inputs": profile.max_embedding_inputs,
            "max_batches_per_hour": profile.max_batches_per_hour,
        },
    }
