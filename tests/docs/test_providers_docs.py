"""docs/providers.md says what the profiles say."""

from __future__ import annotations

from dataclasses import fields

from autobatcher.upstream.providers import KNOWN_PROFILES, ProviderProfile
from tests.providers_docs import DOCUMENT, written


def test_the_tables_are_made_from_the_profiles() -> None:
    assert DOCUMENT.read_text() == written(), "run `nox -s settings`"


def test_the_tables_have_every_profile_and_every_field() -> None:
    text = DOCUMENT.read_text()
    for name in (*(profile.name for profile in KNOWN_PROFILES), *(field.name for field in fields(ProviderProfile))):
        assert f"\n| `{name}` | " in text


def test_every_profile_says_where_it_is_from_and_when_that_was_looked_up() -> None:
    assert all("2026" in profile.source for profile in KNOWN_PROFILES if profile.name != "conservative")
