"""`autobatcher emulate`: a local Batch API server, for experiments and for your own models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from ..display.sentence import counted
from ..emulator import Emulator, FaultPlan, PriceList, Webhook
from ..emulator.known_dialects import Like
from ..emulator.server import MAX_STORED_BYTES
from ..upstream.key import key_mistake
from .flags import Bytes, Count, Port, Seconds, Secret, Url, UsageError
from .host_flags import Hosts, Origins, hosts_served
from .key_file import key_given
from .loopback import bypass_proxy, is_loopback
from .output import print_notice
from .signals import run_until_signalled

EXAMPLES = """
**Examples**

    # a Batch API on a free port; batches take 10 seconds
    autobatcher emulate --batch-seconds 10

    # one that behaves like Doubleword's, on a fixed port
    autobatcher emulate --like doubleword --port 8000

    # batches for your own vLLM, Ollama or llama.cpp
    autobatcher emulate --forward-to http://localhost:11434/v1

    # every tenth upload fails, if faults.json has this in it:
    #   {"faults": [{"level": "http", "operation": "files.create",
    #                "every": 10, "status": 503}]}
    autobatcher emulate --faults faults.json
"""

T = TypeVar("T")

OPEN_ACCOUNT_WARNING = (
    "autobatcher emulate: warning: anyone who can reach this server can spend --forward-key's money. Set --api-key."
)

SHORT_KEY_WARNING = (
    "autobatcher emulate: warning: the --api-key is short enough to be guessed, and guesses are not slowed down. "
    "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
)


def emulate(
    *,
    host: str = "127.0.0.1",
    port: Port = 0,
    allowed_host: Hosts = None,
    cors_origin: Origins = None,
    like: Like = "openai",
    batch_seconds: Seconds = 0.0,
    cancelling_seconds: Seconds = 0.0,
    realtime_seconds: Seconds = 0.0,
    flex_seconds: Seconds = 0.0,
    api_key: Secret = None,
    api_key_file: Path | None = None,
    max_bytes: Bytes = MAX_STORED_BYTES,
    faults: Path | None = None,
    bill_prices: Path | None = None,
    forward_to: Url | None = None,
    forward_key: Secret = None,
    forward_key_file: Path | None = None,
    forward_concurrency: Count = 8,
    webhook: Url | None = None,
    webhook_secret: Secret = None,
    webhook_secret_file: Path | None = None,
) -> int:
    """Run a Batch API server on this machine: files, batches, and the calls themselves in real time.

    Its answers are deterministic: an echo with plausible token counts, embeddings that depend on the input, JSON that
    satisfies a given schema. With --forward-to, a real model answers. Files are kept in a temporary directory, which
    is deleted at the end. Ctrl-C, SIGTERM and SIGHUP stop the server; a second one at once.

    Args:
        host: The address to listen on; 0.0.0.0 for all interfaces.
        port: The TCP port; 0 takes a free one.
        allowed_host: Also serve this name or address, by which a reverse proxy or another machine reaches it. On
            loopback only localhost, 127.0.0.1, [::1] and these are served; elsewhere any host is, unless this is given.
        cors_origin: Serve pages of this origin, such as https://app.example; * for all. Other pages are refused.
        like: The Batch API to resemble, in what it accepts, in its errors and in how batches end. Doubleword's
            shows results while a batch is still running. See docs/providers.md.
        batch_seconds: How long a batch takes, whatever its size. This and the next three are not used with
            --forward-to.
        cancelling_seconds: How long a batch stays in "cancelling".
        realtime_seconds: How long a call in real time takes.
        flex_seconds: How long a call on the flex tier takes.
        api_key: Refuse requests with any other key; without this flag, any key is accepted.
        api_key_file: A file with that key and nothing else.
        max_bytes: How much its files may take. Files that nothing uses any more give way; else uploads are refused.
        faults: A JSON file that says what goes wrong, when, and how long things take; see the last example and
            docs/emulator.md.
        bill_prices: A JSON file with prices, by which /emulator/bill says what everything cost; see docs/emulator.md.
            Without it, prices are made up.
        forward_to: The base URL (ending in /v1) of an OpenAI-compatible real-time server that answers instead.
        forward_key: The API key for that server. Other users see the command line in `ps`: prefer
            AUTOBATCHER_FORWARD_KEY or --forward-key-file.
        forward_key_file: A file with that key and nothing else.
        forward_concurrency: How many lines that server gets at a time.
        webhook: The URL that is told when a batch has ended, such as http://127.0.0.1:8080/webhooks of `serve`.
        webhook_secret: The secret that signs these webhooks: whsec_ and base64. Prefer the variable or the file.
        webhook_secret_file: A file with it and nothing else.
    """
    api_key = key_given(api_key, api_key_file, "--api-key")
    forward_key = key_given(forward_key, forward_key_file, "--forward-key")
    if forward_key is not None and (mistake := key_mistake(forward_key)) is not None:
        raise UsageError(f"--forward-key {mistake}.")
    if forward_key is not None and forward_to is None:
        raise UsageError("--forward-key needs --forward-to, the server's URL.")
    plan = None if faults is None else load_faults(faults)
    prices = None if bill_prices is None else load_prices(bill_prices)
    served = hosts_served(host, allowed_host, cors_origin)
    bypass_proxy(forward_to)
    if forward_key is not None and not is_loopback(host):
        _warn_of_strangers(api_key)
    with Emulator(
        like=like,
        batch_seconds=batch_seconds,
        cancelling_seconds=cancelling_seconds,
        realtime_seconds=realtime_seconds,
        flex_seconds=flex_seconds,
        api_key=api_key,
        max_bytes=max_bytes,
        faults=plan,
        prices=prices,
        forward_to=forward_to,
        forward_key=forward_key,
        forward_concurrency=forward_concurrency,
        webhook=webhook_to(webhook, webhook_secret, webhook_secret_file),
    ) as emulator:
        code = _serve_until_stopped(emulator, served, host, port, how_to_use(like, has_key=api_key is not None))
        bill = emulator.bill()
    if bill.requests:
        print_notice(
            f"autobatcher emulate: {counted(bill.requests, 'request was', 'requests were')} billed: ${bill.total:f}"
        )
    return code


def webhook_to(url: str | None, secret: str | None, path: Path | None) -> Webhook | None:
    """Where webhooks go; None for nowhere. Raises `UsageError`."""
    if url is None:
        return None
    secret = key_given(secret, path, "--webhook-secret")
    if secret is None:
        raise UsageError("--webhook needs --webhook-secret (or AUTOBATCHER_WEBHOOK_SECRET), which signs what it sends.")
    try:
        return Webhook(url, secret)
    except ValueError as error:
        raise UsageError(f"--webhook-secret: {error}.") from error


def _warn_of_strangers(api_key: str | None) -> None:
    from ..server.keys import is_guessable  # here, because it is slow to import

    if api_key is None:
        print_notice(OPEN_ACCOUNT_WARNING)
    elif is_guessable(api_key):
        print_notice(SHORT_KEY_WARNING)


def load_faults(path: Path) -> FaultPlan:
    """Load a fault plan. Raises `UsageError` if the file cannot be read or is not a plan."""
    return _load("--faults", FaultPlan.load, path, "a fault plan")


def load_prices(path: Path) -> PriceList:
    """Load a price list. Raises `UsageError` if the file cannot be read or is not a list."""
    return _load("--bill-prices", PriceList.load, path, "a price list")


def _load(flag: str, load: Callable[[Path], T], path: Path, what: str) -> T:
    try:
        return load(path)
    except OSError as error:
        raise UsageError(f"{flag}: cannot read {path}: {error.strerror or error}.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag}: {path} is not {what}: {error}.") from error


def how_to_use(like: str, *, has_key: bool) -> str:
    """The announcement, with `{url}` to be filled in. It never contains the key."""
    key = "'<the key you gave it>'" if has_key else "anything"
    return (
        f"Batch API emulator, like {like}: {{url}}/v1 (Ctrl-C stops it)\n"
        "  {url}/emulator/bill says what was billed\n"
        "  export OPENAI_BASE_URL={url}/v1\n"
        f"  export OPENAI_API_KEY={key}"
    )


def _serve_until_stopped(emulator: Emulator, served: Any, host: str, port: int, announcement: str) -> int:
    trio.run(run_until_signalled, partial(_serve, emulator, served, host, port, announcement))
    return 0


async def _serve(emulator: Emulator, served: Any, host: str, port: int, announcement: str, stop: trio.Event) -> None:
    from ..emulator.app import serve_emulator  # here, because it is slow to import
    from ..server.hosts import OnlyServedHosts

    middleware = partial(OnlyServedHosts, served=served, server="emulator")
    try:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_emulator, emulator, host, port, middleware=middleware, shutdown_trigger=stop.wait)
            url = await nursery.start(serve)
            print(announcement.format(url=url), flush=True)
    except BaseExceptionGroup as group:
        failure = _first_leaf(group)
        if not isinstance(failure, OSError):
            raise
        raise UsageError(f"cannot listen on --host {host} --port {port}: {failure}.") from failure


def _first_leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
