"""The keyword arguments of the clients: the settings and each client's own.

Type checkers and `help()` show the constructor of a class of arguments as the client's constructor.
"""

import inspect
import os
import warnings
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import fields
from functools import cache, wraps
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar, cast, dataclass_transform

import openai

from ..engine.setting import Setting, annotations_of, default_of
from ..engine.settings import Settings
from ..upstream.providers import ProviderProfile

_Arguments = ParamSpec("_Arguments")
_Class = TypeVar("_Class")
_Client = TypeVar("_Client")
_Init = Callable[Concatenate[_Client, Settings, ...], None]
_Constructor = Callable[Concatenate[_Client, _Arguments], None]

_SETTINGS = tuple(each.name for each in fields(Settings))


@dataclass_transform(kw_only_default=True, frozen_default=True)
def keywords(arguments: type[_Class]) -> type[_Class]:
    """Decorate a class of arguments. It is a dataclass to type checkers and is never instantiated."""
    return arguments


@keywords
class SharedArguments(Settings):
    """The arguments of both clients. Those without a description are the SDK's own."""

    base_url: Annotated[
        Any,
        Setting("the upstream; falls back to `OPENAI_BASE_URL`, then to OpenAI's", shown_default="`OPENAI_BASE_URL`"),
    ] = None
    provider: Annotated[
        str | os.PathLike[str] | ProviderProfile | None,
        Setting(
            "whose rules batches follow: a profile, the name of one (`doubleword`, `openai`, `azure`, `groq`, ...), or "
            "a TOML or JSON file with one; None chooses by the base URL's host"
        ),
    ] = None
    ignore_timeouts: Annotated[
        bool,
        Setting(
            "a `timeout` of the client or of a call does not limit the wait for a batch: for frameworks that pass one "
            "each time",
            flag=None,
        ),
    ] = False
    organization: str | None = None
    project: str | None = None
    admin_api_key: str | None = None
    webhook_secret: str | None = None
    websocket_base_url: Any = None
    data_residency: Any = None
    timeout: float | openai.Timeout | openai.NotGiven | None = openai.NOT_GIVEN
    max_retries: int = openai.DEFAULT_MAX_RETRIES
    default_headers: Mapping[str, str] | None = None
    default_query: Mapping[str, object] | None = None
    http_client: Any = None


@keywords
class ClientArguments(SharedArguments):
    """The arguments of `BatchOpenAI`."""

    api_key: Annotated[
        str | Callable[[], Awaitable[str]] | None,
        Setting(
            "falls back to `OPENAI_API_KEY`. An async function gives a fresh key for each upstream call",
            shown_default="`OPENAI_API_KEY`",
        ),
    ] = None


@keywords
class AsyncOpenAIArguments(ClientArguments):
    """The arguments of `AsyncOpenAI`."""

    completion_window: str = "1h"


WITHOUT_MEANING = frozenset({"max_concurrent_requests", "max_poll_retries"})
"""Arguments of versions 0.7 to 0.12, for calls of the flex tier. `lane_concurrency` limits those now."""


def takes(
    arguments: Callable[_Arguments, Settings], passes_to: Callable[..., None] | None = None
) -> Callable[[_Init[_Client]], _Constructor[_Client, _Arguments]]:
    """Decorate the constructor of a client. It gets the `Settings` and all other arguments.

    Args:
        arguments: the class of arguments, which gives the client its signature.
        passes_to: the constructor that takes the arguments unknown to the client.
    """

    def decorate(init: _Init[_Client]) -> _Constructor[_Client, _Arguments]:
        signature = _signature_of(cast("type[Settings]", arguments))
        own = frozenset(signature.parameters) | frozenset(init.__kwdefaults__ or ())
        door = init.__qualname__.partition(".")[0]
        changed = {name: vars(arguments)[name] for name in _SETTINGS if name in vars(arguments)}

        @wraps(init)
        def construct(self: _Client, **given: Any) -> None:
            for name in WITHOUT_MEANING & given.keys() if passes_to is not None else ():
                warnings.warn(f"{door}: {name} has no effect any more; leave it out", DeprecationWarning, stacklevel=2)
                del given[name]
            _refuse_unknown(door, given.keys() - own, own, passes_to)
            if given.get("completion_window", "") is None:  # the default of version 0.12
                del given["completion_window"]
            settings = Settings(**{**changed, **{name: given.pop(name) for name in _SETTINGS if name in given}})
            init(self, settings, **given)

        construct.__signature__ = signature  # type: ignore[attr-defined]
        return cast("_Constructor[_Client, _Arguments]", construct)

    return decorate


def _signature_of(arguments: type[Settings]) -> inspect.Signature:
    """The signature that type checkers see."""
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for name, hint in annotations_of(arguments).items():
        plain = hint.__origin__ if hasattr(hint, "__metadata__") else hint
        default = default_of(arguments, name)
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=plain))
    return inspect.Signature(parameters, return_annotation=None)


def _refuse_unknown(
    door: str, others: Collection[str], own: frozenset[str], passes_to: Callable[..., None] | None
) -> None:
    """Raise `TypeError` for a name that neither the client nor the SDK takes."""
    if not others:
        return
    taken = frozenset() if passes_to is None else _names_of(passes_to)
    for name in others:
        if taken is not None and name not in taken:
            from ..engine.spelling import did_you_mean  # imported only when there is a mistake

            known = [each for each in own | taken if not each.startswith("_")]
            raise TypeError(f"{door} got an unexpected keyword argument {name!r}{did_you_mean(name, known)}")


@cache
def _names_of(function: Callable[..., None]) -> frozenset[str] | None:
    """The parameter names of a function; None if it takes any, as a wrapped one may."""
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    return frozenset(each.name for each in parameters)
