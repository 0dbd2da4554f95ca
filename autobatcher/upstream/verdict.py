"""What the answers to a few GETs say: whether an upstream works, may work later, or cannot work. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .failures import GONE
from .probe import Answered
from .providers import ProviderProfile

CANNOT_LIST = frozenset({"mistral"})
"""Profiles of upstreams that have batches and cannot list them."""


class Verdict(Enum):
    """What one answer says."""

    WORKS = "yes"
    """It is there, and the key may use it."""

    REFUSED = "refused"
    """The key may not use it."""

    MISSING = "no"
    """There is no such thing."""

    CANNOT = "cannot"
    """No try can succeed: a certificate that is not trusted, a redirect to another server."""

    UNKNOWN = "unknown"
    """It may work later, or in another way."""


def verdict_on(answer: Answered) -> Verdict:
    """What an answer says of what was asked for."""
    if answer.failure is None:
        return Verdict.WORKS
    if answer.status == 401 or (answer.status == 403 and not answer.is_page):  # a page is a firewall's
        return Verdict.REFUSED
    if answer.status in GONE or (answer.is_page and answer.status is None):
        return Verdict.MISSING
    if answer.status is None and not answer.may_pass:
        return Verdict.CANNOT
    return Verdict.UNKNOWN


@dataclass(frozen=True)
class Judgement:
    """What is known of an upstream when a proxy starts.

    Attributes:
        sentence: in words, without a period.
        is_good: whether everything is as it should be.
        is_hopeless: whether nothing can work until somebody changes the key, the URL or the upstream.
    """

    sentence: str
    is_good: bool = False
    is_hopeless: bool = False


def is_enough(first: Answered) -> bool:
    """Whether one answer says all, or another path must be asked for, too."""
    return verdict_on(first) not in (Verdict.REFUSED, Verdict.MISSING) or first.status == 401


def judge(first: Answered, second: Answered | None, profile: ProviderProfile, *, is_own_key: bool = True) -> Judgement:
    """Judge an upstream by its list of batches and, if that is not enough, by its list of models.

    Args:
        second: the answer to the other path; None if the first one was enough.
        is_own_key: whether the key pays: else a refusal says nothing, since callers send keys of their own.
    """
    said, other = verdict_on(first), Verdict.UNKNOWN if second is None else verdict_on(second)
    seconds = f"in {first.seconds:.1f} s"
    match said:
        case Verdict.WORKS:
            return Judgement(f"answers {seconds}{', and accepts the key' if is_own_key else ''}", is_good=True)
        case Verdict.REFUSED if not is_own_key:
            return Judgement(f"answers {seconds}; callers send keys of their own", is_good=True)
        case Verdict.REFUSED:
            is_sure = first.status == 401 or other is Verdict.REFUSED
            what = "refuses the key" if is_sure else "refuses to list batches"
            return Judgement(_because(what, first), is_hopeless=is_sure)
        case Verdict.MISSING:
            return _missing(first, other, profile)
        case Verdict.CANNOT:
            return Judgement(_because("cannot be used", first), is_hopeless=True)
    return Judgement(_because("does not work now" if first.was_heard else "cannot be reached now", first))


def _missing(batches: Answered, models: Verdict, profile: ProviderProfile) -> Judgement:
    if models is Verdict.MISSING:
        return Judgement(_because("has no API at this URL", batches), is_hopeless=True)
    is_sure = models in (Verdict.WORKS, Verdict.REFUSED) and profile.name not in CANNOT_LIST
    return Judgement(_because("has no list of batches, so no Batch API", batches), is_hopeless=is_sure)


def _because(what: str, answer: Answered) -> str:
    reason = (answer.failure or "").removesuffix(".")
    return f"{what}: {reason}. {answer.advice}".removesuffix(" ").removesuffix(".")
