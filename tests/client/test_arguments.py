"""Which arguments the constructors take, and how they refuse others."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys
from dataclasses import fields
from typing import Any

import openai
import pytest

from autobatcher import AsyncOpenAI, BatchOpenAI, BatchOpenAISync, BatchTransport
from autobatcher.client.arguments import ClientArguments, takes
from autobatcher.engine.settings import Settings
from tests.harness import SDK_LIBRARY, ask, open_harness

DOORS = [BatchOpenAI, BatchOpenAISync, BatchTransport]
CLIENTS = [(BatchOpenAI, openai.AsyncOpenAI), (BatchOpenAISync, openai.OpenAI)]
SETTINGS = {field.name for field in fields(Settings)}


@pytest.mark.parametrize("door", DOORS)
def test_the_signature_names_every_setting_with_its_type_and_default(door: Any) -> None:
    parameters = inspect.signature(door).parameters
    assert parameters.keys() >= SETTINGS
    assert parameters["batch_window_seconds"].default == 10.0
    assert parameters["batch_window_seconds"].annotation is float
    assert {each.kind for each in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("door", DOORS)
def test_the_signature_has_no_private_parameter(door: Any) -> None:
    assert not [name for name in inspect.signature(door).parameters if name.startswith("_")]


@pytest.mark.parametrize(("door", "sdk"), CLIENTS)
def test_the_signature_has_what_the_sdk_takes(door: Any, sdk: Any) -> None:
    usual = {
        "api_key",
        "base_url",
        "organization",
        "project",
        "timeout",
        "max_retries",
        "default_headers",
        "http_client",
    }
    assert usual <= inspect.signature(sdk).parameters.keys()
    assert usual <= inspect.signature(door).parameters.keys()


def test_help_shows_the_settings() -> None:
    text = pydoc.plain(pydoc.render_doc(BatchOpenAI))
    assert "batch_window_seconds: float = 10.0" in text
    assert "batch_window_seconds: submit a batch this long after the first request of its window." in text


@pytest.mark.parametrize("door", DOORS)
def test_an_unknown_name_is_refused_by_our_class_with_the_nearest_name(door: Any) -> None:
    said = f"^{door.__name__} got an unexpected keyword argument 'batch_windows_seconds'; did you mean "
    with pytest.raises(TypeError, match=said + r"'batch_window_seconds'\?$"):
        door(batch_windows_seconds=1)


@pytest.mark.parametrize("door", DOORS)
def test_a_name_that_is_like_nothing_is_refused_without_a_guess(door: Any) -> None:
    with pytest.raises(TypeError, match=f"^{door.__name__} got an unexpected keyword argument 'zzz'$"):
        door(zzz=1)


@pytest.mark.parametrize(("door", "sdk"), CLIENTS)
def test_the_nearest_name_may_be_the_sdks(door: Any, sdk: Any) -> None:
    with pytest.raises(TypeError, match=r"did you mean 'default_headers'\?"):
        door(api_key="k", default_header={})


@pytest.mark.parametrize("door", DOORS)
def test_arguments_have_names(door: Any) -> None:
    with pytest.raises(TypeError, match=door.__name__):
        door("sk-key")


@pytest.mark.parametrize(("door", "sdk"), CLIENTS)
def test_arguments_of_the_sdk_reach_it(door: Any, sdk: Any) -> None:
    client = door(
        api_key="k",
        organization="o",
        project="p",
        webhook_secret="whsec_x",
        timeout=7.0,
        max_retries=5,
        default_headers={"x-a": "1"},
        _strict_response_validation=True,
    )
    assert (client.organization, client.project, client.webhook_secret) == ("o", "p", "whsec_x")
    assert (client.timeout, client.max_retries, client._strict_response_validation) == (7.0, 5, True)
    assert client.default_headers["x-a"] == "1"


@pytest.mark.parametrize("name", ["max_concurrent_requests", "max_poll_retries"])
@pytest.mark.parametrize("door", [BatchOpenAI, AsyncOpenAI, BatchOpenAISync])
def test_an_argument_of_an_older_version_without_meaning_is_warned_about(door: Any, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"^{door.__name__}: {name} has no effect any more") as warned:
        door(api_key="k", **{name: 20})
    assert warned[0].filename == __file__


@pytest.mark.parametrize("door", [*DOORS, AsyncOpenAI])
def test_none_for_what_an_older_version_took_it_for_means_the_default(door: Any) -> None:
    credentials = {} if door is BatchTransport else {"api_key": "k"}
    door(**credentials, completion_window=None, batch_metadata=None, batch_event_handler=None)


async def test_the_completion_window_of_a_client_that_was_given_none_is_its_default() -> None:
    async with open_harness("doubleword") as harness, harness.client(completion_window=None) as client:
        await ask(client, "hello")
        (submitted,) = harness.events_named("batch_submitted")
        assert submitted["completion_window"] == "24h"


def test_the_client_of_one_hour_differs_in_nothing_else() -> None:
    hour, day = inspect.signature(AsyncOpenAI).parameters, inspect.signature(BatchOpenAI).parameters
    assert {name for name in day if hour[name].default != day[name].default} == {"completion_window"}
    assert hour.keys() == day.keys()
    with pytest.raises(TypeError, match=r"^AsyncOpenAI got an unexpected keyword argument 'zzz'$"):
        AsyncOpenAI(zzz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(("given", "window"), [({}, "1h"), ({"completion_window": "24h"}, "24h")])
async def test_the_client_of_one_hour_and_its_copies_ask_for_it(given: dict[str, Any], window: str) -> None:
    async with open_harness("doubleword") as harness:
        http_client = harness.emulator.http_client(library=SDK_LIBRARY)
        options: Any = {"api_key": "k", "base_url": "http://upstream.test/v1", "http_client": http_client, **given}
        options["provider"] = "doubleword"  # which keeps input files, with which it would delete the batches
        async with AsyncOpenAI(batch_window_seconds=1.0, poll_interval_seconds=2.0, **options) as client:
            assert "x" in await ask(client, "x")
            assert "y" in await ask(client.with_options(max_retries=0), "y")
            assert type(client.copy()) is AsyncOpenAI
            listed = [batch.completion_window async for batch in client.batches.list()]
        assert listed == [window, window]


def test_an_argument_that_only_a_later_sdk_has_reaches_it() -> None:
    def later(*, from_the_future: object = None) -> None: ...

    class Client:
        @takes(ClientArguments, passes_to=later)
        def __init__(self, settings: Settings, **others: Any) -> None:
            self.settings, self.others = settings, others

    made: Any = Client
    client = made(batch_size=7, from_the_future=1)
    assert (client.settings, client.others) == (Settings(batch_size=7), {"from_the_future": 1})


def test_an_sdk_whose_constructor_somebody_wrapped_may_take_anything() -> None:
    def wrapped(*args: Any, **arguments: Any) -> None: ...

    class Client:
        @takes(ClientArguments, passes_to=wrapped)
        def __init__(self, settings: Settings, **others: Any) -> None:
            self.others = others

    made: Any = Client
    assert made(whatever=1).others == {"whatever": 1}


def test_a_subclass_has_a_signature_of_its_own() -> None:
    class Mine(BatchOpenAI):
        def __init__(self, name: str, **others: Any) -> None:
            super().__init__(batch_size=7, **others)
            self.name = name

    assert list(inspect.signature(Mine).parameters) == ["name", "others"]
    assert Mine("n", api_key="k").name == "n"


def test_the_library_is_imported_without_the_command_lines_package() -> None:
    code = "import sys, autobatcher; autobatcher.BatchOpenAI(api_key='k'); print({'cyclopts'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=40)
    assert done.stdout == "set()\n", done.stderr
