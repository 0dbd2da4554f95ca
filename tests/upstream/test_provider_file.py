"""Profiles from files: what a good file means, and what is said of a bad one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from autobatcher import BatchOpenAI, BatchOpenAISync, BatchTransport, ProviderProfile
from autobatcher.upstream.provider_file import read_profile
from autobatcher.upstream.providers import CONSERVATIVE, DOUBLEWORD, OPENAI, ZHIPU
from tests.harness import ask, open_harness


def toml(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


SAID = "source = 'a page', as_of = 2026-11-26"


def test_a_file_with_a_name_alone_has_the_strictest_limits(tmp_path: Path) -> None:
    assert read_profile(toml(tmp_path, 'name = "mine"')) == dataclasses.replace(CONSERVATIVE, name="mine")


def test_a_file_changes_the_profile_that_it_is_based_on(tmp_path: Path) -> None:
    path = toml(tmp_path, 'base = "openai"\nname = "mine"\nmax_requests = 10\nendpoints = ["/v1/embeddings"]')
    wanted = dataclasses.replace(OPENAI, name="mine", max_requests=10, endpoints=frozenset({"/v1/embeddings"}))
    assert read_profile(path) == wanted


@pytest.mark.parametrize("profile", [OPENAI, DOUBLEWORD, ZHIPU, CONSERVATIVE], ids=lambda profile: profile.name)
def test_every_field_of_a_profile_can_stand_in_a_json_file(profile: ProviderProfile, tmp_path: Path) -> None:
    path = tmp_path / "mine.JSON"
    path.write_text(json.dumps(dataclasses.asdict(profile), default=_as_json))
    assert read_profile(str(path)) == profile


def _as_json(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else str(value)


def test_a_limit_of_the_base_can_be_taken_away(tmp_path: Path) -> None:
    path = toml(tmp_path, 'base = "openai"\nname = "mine"\nmax_embedding_inputs = "unlimited"')
    assert read_profile(path).max_embedding_inputs is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'the name is missing: add a field such as name = "mine"'),
        ('base = "openai"', "the name is missing"),
        ('name = ""', "name must not be empty"),
        ("name = 3", "name must be text, not 3"),
        ('name = "x"\nprice_provider = ["openai"]', "price_provider must be text"),
        ('name = "x"\nprice_provider = ""', "price_provider must not be empty"),
        ('name = "x"\nprice_notes = [{lane = "batch", discout = "0.5"}]', "price_notes: there is no .* 'discount'?"),
        ('name = "x"\nprice_notes = [{lane = "batch", discount = "0.5"}]', "price_notes: .*source"),
        ('name = "x"\nprice_notes = [{lane = "bach", source = "s", as_of = 2026-01-01}]', "price_notes: .*'bach'"),
        (f"name = 'x'\nprice_notes = [{{lane = 'batch', {SAID}}}]", "price_notes: .*needs input and output, or a"),
        (f"name = 'x'\nprice_notes = [{{lane = 'batch', discount = 50, {SAID}}}]", "between 0 and 1"),
        (f"name = 'x'\nprice_notes = [{{lane = 'batch', input = 'x', output = 1, {SAID}}}]", "price_notes: .*input"),
        (
            f"name = 'x'\nprice_notes = [{{lane = 'batch', input = -1, output = 1, {SAID}}}]",
            "USD per million .* not -1",
        ),
        ('nam = "x"', "there is no field 'nam'; did you mean 'name'?"),
        ('name = "x"\nmax_request = 3', "there is no field 'max_request'; did you mean 'max_requests'?"),
        ('name = "x"\nzzz = 3', "there is no field 'zzz'$"),
        ('name = "x"\nbase = "opena"', "base must be one of openai, doubleword, .*; not 'opena'"),
        ('name = "x"\nbase = ["openai"]', "base must be one of"),
        ('name = "x"\nmax_requests = "3"', "max_requests must be a whole number, not '3'"),
        ('name = "x"\nmax_requests = true', "max_requests must be a whole number, not True"),
        ('name = "x"\nmax_requests = 0', "max_requests must be at least 1, not 0"),
        ('name = "x"\nmax_requests = "unlimited"', "max_requests must be a whole number, not 'unlimited'"),
        ('name = "x"\nmax_line_bytes = "64MB"', 'max_line_bytes must be a whole number or "unlimited", not'),
        ('name = "x"\nmixes_models = 1', "mixes_models must be true or false, not 1"),
        ('name = "x"\nhosts = "a.test"', "hosts must be a list of texts, not 'a.test'"),
        (
            'name = "x"\nendpoints = ["/v1/chat/completion"]',
            "'/v1/chat/completion' cannot be batched; did you mean '/v1/chat/completions'?",
        ),
        ('name = "x"\nurl_prefix = "v4/"', 'url_prefix must be a path such as "/v4"'),
        ('name = "x"\ncompletion_windows = ["24h"]', "completion_windows must be two durations"),
        ('name = "x"\ncompletion_windows = ["a", "b"]', "completion_windows must be two durations"),
        ('name = "x"\npriced_windows = ["1 day"]', "priced_windows must be durations such as"),
        ('name = "x"\nflex_endpoints = ["/v1/chats"]', "flex_endpoints: '/v1/chats' cannot be batched"),
        ('name = "x"\ncancel_seconds = "10m"', "cancel_seconds must be a number of seconds, not '10m'"),
        (
            'name = "x"\ncancel_seconds = nan',
            "cancel_seconds must be a finite number of seconds of at least 0, not nan",
        ),
        ('name = "x"\ncancel_seconds = -1', "cancel_seconds must be a finite number of seconds of at least 0, not -1"),
        ('name = "x"\nflex_seconds = 0', "flex_seconds must be a finite number of seconds of at least 1, not 0"),
        ("name = ", "Invalid value"),
    ],
)
def test_a_bad_file_is_refused_with_its_path_the_field_and_what_to_write(text: str, said: str, tmp_path: Path) -> None:
    path = toml(tmp_path, text)
    with pytest.raises(ValueError, match=said) as raised:
        read_profile(path)
    assert str(path) in str(raised.value)
    assert str(raised.value).startswith("provider: ")


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.toml cannot be read: No such file"):
        read_profile(tmp_path / "nowhere.toml")
    with pytest.raises(ValueError, match=r"ends in \.toml or \.json"):
        read_profile(tmp_path / "mine.yaml")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="a profile is an object"):
        read_profile(tmp_path / "list.json")


@pytest.mark.parametrize("make", [BatchOpenAI, BatchOpenAISync, BatchTransport])
def test_every_client_takes_a_path_of_either_type_and_names_the_file_in_errors(make: type, tmp_path: Path) -> None:
    path = toml(tmp_path, "name = 1")
    key = {} if make is BatchTransport else {"api_key": "k"}
    for given in (path, str(path)):
        with pytest.raises(ValueError, match=r"provider: .*name must be text"):
            make(provider=given, **key)


async def test_a_clients_batches_follow_the_file(tmp_path: Path) -> None:
    path = toml(tmp_path, 'name = "mine"\nurl_prefix = "/v4"\nmax_requests = 1\nendpoints = ["/v1/chat/completions"]')
    async with open_harness("zhipu") as harness, harness.client(provider=path) as client:
        assert "a" in await ask(client, "a")
        assert [line.url for line in harness.emulator.statistics().lines] == ["/v4/chat/completions"]
