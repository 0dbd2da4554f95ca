"""Reads SDK clients and their requests by public names; shared by both clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

import anyio
import openai

from ..errors import ClientClosedError, UnbatchableRequestError
from ..redaction import has_user
from ..upstream.account import Account
from ..upstream.base_url import base_url_mistake
from ..upstream.key import fits_a_header, has_inner_space, key_mistake
from ..upstream.provider_file import names_file, read_profile
from ..upstream.providers import CONSERVATIVE, ProviderProfile, profile_for, profile_named
from .azure import is_deployment, without_deployment
from .call import CREDENTIAL_HEADERS, Call, is_ignored_header, refuse_query_of_one_call, wait_seconds
from .deadlines import DEADLINE_HEADER, deadline_block, deadline_header_of, deadline_of_call, without_deadline
from .header_kinds import HeaderKinds
from .sdk_internals import base_url_of, copy_with, custom_headers, is_http_client_of, private_options

CALL_EXTENSION = "autobatcher.call"
"""The request extension that carries the `Call` from a client to the transport."""

_SDK_TIMEOUT: dict[str, Any] = openai.DEFAULT_TIMEOUT.as_dict()


def with_request_options(
    call: Call,
    request: Any,
    kinds: HeaderKinds,
    *,
    ignore_timeouts: bool,
    clock: Callable[[], float] = anyio.current_time,
) -> Call:
    """Apply the options of one request of an SDK client to the client's `call`.

    Args:
        clock: that of the event loop that runs the engine.

    Raises:
        UnbatchableRequestError: if the request has its own query or a header that is no deadline, or if too many sets
            of headers wait.
    """
    account = call.account
    given = {
        name: value
        for name, value in request.headers.items()
        if not is_ignored_header(name) and not _is_of(call, name, value)
    }
    credentials = {name: given.pop(name) for name in CREDENTIAL_HEADERS if name in given}
    header = given.pop(DEADLINE_HEADER, None)
    # A known outcome is told even if the deadline has passed by now.
    deadline = deadline_of_call(header, clock=clock) if call.outcome is None else None
    query = request.url.params.multi_items() if request.url.query else ()
    refuse_query_of_one_call(name for name, value in query if (name, value) not in account.query)
    if credentials:
        headers = {name.lower(): value for name, value in account.headers} | credentials
        account = replace(account, headers=tuple(headers.items()))
    account = kinds.account_with(account, given)
    timeout = {} if ignore_timeouts else request.extensions.get("timeout", {})
    return replace(call, account=account, wait_seconds=wait_seconds(timeout, _SDK_TIMEOUT), deadline=deadline)


def _is_of(call: Call, name: str, value: str) -> bool:
    """Whether the client sends that header with every call."""
    for known, its_value in reversed(call.account.headers):
        if known.lower() == name:
            return its_value == value
    return name == "authorization" and value == f"Bearer {call.bearer}"


AnyAsyncClient: type = openai.DefaultAsyncHttpxClient
AnyClient: type = openai.DefaultHttpxClient


class CopiesShareTheEngine:
    """Base of both clients: copies share the engine and its queue, and nothing is sent after `close`."""

    _engine: Any
    _profile: ProviderProfile | None
    _key: Any
    _is_closed: bool
    _other_secrets: tuple[str, ...] = ()
    _seen: tuple[Any, ...] = ()
    _made: Call
    api_key: str
    max_retries: int

    def is_closed(self) -> bool:
        """Whether `close` was called or the block was left."""
        return self._is_closed or bool(super().is_closed())  # type: ignore[misc]  # the SDK client's

    if not TYPE_CHECKING:
        # Type checkers see the SDK's own signature.

        def copy(self, **changes: Any) -> Self:
            """The SDK's `copy`; the copy shares the engine and its queue."""
            shared = {"_engine": self._engine, "_upstream": self._upstream, "provider": self._profile}
            http_client = changes.get("http_client")
            if http_client is not None and not is_http_client_of(self, http_client):
                shared["_upstream"] = check_http_client(http_client, type(self._engine.http_client))
                changes["http_client"] = self._engine.through(http_client)
            copied = copy_with(super().copy, shared, changes)
            if copied is not None:
                return copied
            return type(self)(**{"http_client": self._engine.http_client, **changed_options(self, changes)}, **shared)

        with_options = copy

    @contextmanager
    def deadline(self, value: float | str) -> Iterator[None]:
        """Calls in this block need their answers by then; of nested blocks the earliest deadline counts.

        Tasks that are started in the block inherit it. Threads do not: there, begin a block in each thread.

            with client.deadline("15m"):
                answer = await client.chat.completions.create(...)

        Args:
            value: seconds from now, a duration such as "15m", or an ISO 8601 instant such as "2026-11-26T18:00:00Z".

        Raises:
            TypeError, ValueError: for anything else, and for a deadline that is not in the future.
        """
        with deadline_block(value):
            yield

    def mask(self, secret: str) -> None:
        """Mask this like the key, wherever the upstream may have written it. For a proxy's own key."""
        self._other_secrets, self._seen = (*self._other_secrets, secret), ()

    @property
    def _own_key(self) -> Any:
        """The user's key function; None if the client has a key."""
        return self._key

    def _before_sending(self, request: Any) -> None:
        """Attach the `Call` to a request. Raises `ClientClosedError`."""
        self._check_open(request)
        request.extensions[CALL_EXTENSION] = self._call()

    def _check_open(self, request: Any) -> None:
        if self.is_closed():
            error = ClientClosedError("The client is closed.")
            error.request = request
            raise error

    def _call(self) -> Call:
        """The client's options for all calls. Cached until one of the SDK's attributes changes."""
        client: Any = self
        url, headers, query = base_url_of(client), dict(custom_headers(client)), dict(client.default_query)
        seen = (self.api_key, self.max_retries, url, client.organization, client.project, headers, query)
        if seen != self._seen:
            account = account_of(self, self._profile, self._key)
            self._seen = seen
            self._made = Call(
                account,
                bearer=self.api_key or None,
                max_retries=self.max_retries,
                deadline_header=deadline_header_of(headers),
            )
        return self._made


def same_options(client: Any) -> dict[str, Any]:
    """The arguments for a plain SDK client with the options of one of ours."""
    optional = ("webhook_secret", "websocket_base_url", "admin_api_key")
    return {
        **{name: getattr(client, name) for name in optional if getattr(client, name, None)},
        **private_options(client),
        "api_key": client._own_key or client.api_key,
        "organization": client.organization,
        "project": client.project,
        "base_url": client.base_url,
        "timeout": client.timeout,
        "max_retries": client.max_retries,
        "default_headers": custom_headers(client),
        "default_query": client.default_query,
    }


def unbatched_options(client: Any) -> dict[str, Any]:
    """The same for one that makes its calls in real time, where no header of ours means anything."""
    return {**same_options(client), "default_headers": without_deadline(custom_headers(client))}


def changed_options(client: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`same_options` updated with the arguments of the SDK's `copy`."""
    options = same_options(client)
    for name, value in changes.items():
        if isinstance(value, openai.NotGiven) or (value is None and name != "timeout"):
            continue
        if name in ("default_headers", "default_query"):
            options[name] = {**options[name], **value}
        else:
            options[name.removeprefix("set_")] = value
    return options


def account_behind(client: CopiesShareTheEngine) -> Account:
    """The account of one of our clients."""
    return client._call().account


def account_of(client: Any, profile: ProviderProfile | None, key: Any) -> Account:
    """Make the account of an SDK client. It holds no reference to the client.

    Args:
        profile: the provider's profile; None chooses by the base URL.
        key: the async key function; None if the client has a key.
    """
    check_base_url(client.base_url)  # it may have been set after the construction
    base_url = str(client.base_url).rstrip("/")
    headers = {
        "OpenAI-Organization": client.organization,
        "OpenAI-Project": client.project,
        **without_deadline(custom_headers(client)),
    }
    query = parse_qsl(client.qs.stringify(dict(client.default_query)), keep_blank_values=True)
    return Account(
        base_url=base_url,
        provider=profile or profile_for(base_url),
        api_key=key or client.api_key or None,
        headers=tuple((name, value) for name, value in headers.items() if isinstance(value, str)),
        query=tuple(query),
        other_secrets=client._other_secrets,
    )


def check_http_client(http_client: Any, kind: type) -> Any:
    """Return `http_client` if it is of that kind (`Client` or `AsyncClient`) of httpx or httpx2.

    Raises:
        TypeError: otherwise, naming the parameter.
    """
    wanted = next(base.__name__ for base in kind.__mro__ if base.__name__ in ("AsyncClient", "Client"))
    for base in type(http_client).__mro__:
        if base.__name__ == wanted and base.__module__.partition(".")[0] in ("httpx", "httpx2"):
            return http_client
    raise TypeError(f"http_client must be an httpx.{wanted} or httpx2.{wanted}, not {type(http_client).__name__}")


def with_key(account: Account, api_key: str) -> Account:
    """Replace the key of an account. Raises `UnbatchableRequestError` for a key that is not valid in a header."""
    if (mistake := key_mistake(api_key)) is not None:
        raise UnbatchableRequestError(f"The key {mistake}.")
    headers = tuple(
        (name, value) for name, value in account.headers if name.lower() not in ("authorization", "api-key")
    )
    own = (account.api_key,) if isinstance(account.api_key, str) else ()
    return replace(account, api_key=api_key, headers=headers, other_secrets=(*account.other_secrets, *own))


def checked_profile(provider: object) -> ProviderProfile | None:
    """Look up the profile of a `provider=` argument. Raises `TypeError` or `ValueError`, naming it."""
    if isinstance(provider, os.PathLike) or (isinstance(provider, str) and names_file(provider)):
        return read_profile(provider)
    if isinstance(provider, str):
        return profile_named(provider)
    if provider is None or isinstance(provider, ProviderProfile):
        return provider
    raise TypeError(f"provider must be a ProviderProfile, its name or its file, not {type(provider).__name__}")


def refuse_other_credentials(openai_arguments: Mapping[str, Any]) -> None:
    """Raise `TypeError` for `workload_identity`: the engine authenticates its calls with a key."""
    if openai_arguments.get("workload_identity") is not None:
        raise TypeError("workload_identity cannot be used with batches: pass api_key=, a key or a function")


def check_base_url(base_url: Any) -> None:
    """Raise `ValueError` for a base URL that cannot work, with the right one as far as it can be known.

    Args:
        base_url: None stands for the environment's.
    """
    source, url = "base_url", "" if base_url is None else str(base_url)
    if base_url is None and (url := os.environ.get("OPENAI_BASE_URL", "").strip()):
        source = "OPENAI_BASE_URL"
    if has_user(url):  # the HTTP library would send it instead of the key
        raise ValueError(
            "base_url must have no user and password: they would replace the key. If the server wants them, give "
            'default_headers={"Authorization": "Basic ..."}'
        )
    if url and (mistake := base_url_mistake(url)) is not None:
        raise ValueError(f"{source} {mistake}")


def check_client(client: Any) -> None:
    """Check what the SDK accepts but batches cannot use. Raises `ValueError`, naming the parameter."""
    if client.base_url.query:
        raise ValueError(
            f"base_url must have no query; give default_query= beside {client.base_url.copy_with(query=None)}"
        )
    base_url = str(client.base_url).rstrip("/")
    if is_deployment(base_url):
        raise ValueError(
            f"base_url must not be a deployment, since Azure has no files and batches there. Use "
            f"{without_deployment(base_url)}/v1, and the deployment's name as model="
        )
    _check_key(client)
    _check_headers(client)


def _check_key(client: Any) -> None:
    mistake = key_mistake(client.api_key)
    if mistake is None and has_inner_space(client.api_key) and profile_for(str(client.base_url)) is not CONSERVATIVE:
        mistake = "has white space in it: give the key and nothing else"
    if mistake is not None:
        source = " (from OPENAI_API_KEY)" if client.api_key == os.environ.get("OPENAI_API_KEY") else ""
        raise ValueError(f"api_key{source} {mistake}")


def _check_headers(client: Any) -> None:
    """Headers that an HTTP library would refuse at the first call, without a word of which one."""
    named = {"organization": client.organization, "project": client.project}
    headers = {f"default_headers[{name!r}]": value for name, value in custom_headers(client).items()}
    for name, value in {**named, **headers}.items():
        if isinstance(value, str) and (not fits_a_header(value) or value != value.strip()):
            raise ValueError(f"{name} has white space around it, or a character that is not valid in an HTTP header")
