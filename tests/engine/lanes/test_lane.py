"""Which lanes a user allows, and which a provider has."""

from __future__ import annotations

import pytest

from autobatcher.engine.lanes.lane import Lane, lanes_of, usable_lanes
from autobatcher.upstream.providers import AZURE, CONSERVATIVE, DOUBLEWORD, GROQ, OPENAI, ProviderProfile

BATCH, FLEX, REALTIME = Lane
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


def test_without_a_choice_a_deadline_adds_the_flex_lane_and_never_the_full_price() -> None:
    assert lanes_of(None, has_deadline=False) == (BATCH,)
    assert lanes_of(None, has_deadline=True) == (BATCH, FLEX)


@pytest.mark.parametrize(
    ("names", "lanes"),
    [
        (("batch", "flex", "realtime"), (BATCH, FLEX, REALTIME)),
        (["batch", "realtime"], (BATCH, REALTIME)),
        (("realtime",), (REALTIME,)),
        ("batch", (BATCH,)),
        ("flex, Realtime", (FLEX, REALTIME)),
        ((FLEX, "realtime"), (FLEX, REALTIME)),
    ],
)
def test_lanes_are_named_in_a_sequence_or_in_a_text(names: object, lanes: tuple[Lane, ...]) -> None:
    assert lanes_of(names, has_deadline=False) == lanes_of(names, has_deadline=True) == lanes


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "must name at least one lane"),
        ("", "must name lanes of 'batch', 'flex', 'realtime'; '' is none"),
        (("batch", "flexible"), "'flexible' is none"),
        (("batch", 3), "3 is none"),
        (("batch", "batch"), 'must name each lane once, unlike "batch", "batch"'),
        (("flex", "batch"), 'must name the cheapest lane first: "batch", "flex", not "flex", "batch"'),
        ({"batch", "flex"}, "must name lanes in their order"),
        (b"batch", "must name lanes in their order"),
        (7, "must name lanes in their order"),
    ],
)
def test_what_names_no_lanes_is_refused_with_what_to_write(names: object, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        lanes_of(names, has_deadline=True)


@pytest.mark.parametrize(
    ("profile", "endpoint", "usable"),
    [
        (OPENAI, CHAT, (BATCH, FLEX, REALTIME)),
        (OPENAI, "/v1/responses", (BATCH, FLEX, REALTIME)),
        (OPENAI, EMBEDDINGS, (BATCH, REALTIME)),
        (DOUBLEWORD, CHAT, (BATCH, FLEX, REALTIME)),
        (DOUBLEWORD, EMBEDDINGS, (BATCH, REALTIME)),  # flex is ignored there, and charged as real time
        (GROQ, CHAT, (BATCH, REALTIME)),  # its flex costs the full price
        (GROQ, EMBEDDINGS, (REALTIME,)),
        (AZURE, CHAT, (BATCH, REALTIME)),
        (CONSERVATIVE, CHAT, (BATCH, REALTIME)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_lane_is_used_only_where_the_provider_sells_it_cheaper(
    profile: ProviderProfile, endpoint: str, usable: tuple[Lane, ...]
) -> None:
    assert usable_lanes(tuple(Lane), profile, endpoint) == usable
