"""`autobatcher serve`: a local proxy that gives any program batch prices."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import trio
from cyclopts import Parameter
from cyclopts.validators import Number

from ..errors import JournalError, JournalInUseError, JournalUnreachableError
from ..money.given_prices import GivenPrices
from ..printable import PrintableFormatter
from ..upstream.key import key_mistake
from ..upstream.providers import CONSERVATIVE, profile_for
from .event_lines import EventLines, event_lines
from .flags import Dollars, PassingError, Port, Secret, SpendingCap, Switch, UsageError
from .host_flags import Hosts, Origins, hosts_served
from .key_file import key_given
from .live_status import screen_on
from .loopback import is_loopback
from .output import PrintableConsole, print_notice
from .price_flags import flat_prices
from .proxy_flags import ProxyFlags
from .question import question_here
from .request_log import request_log_at
from .serve_end import stopped_line
from .signals import StopSignals, run_with_signals
from .start_check import refuse_hopeless, run_checked
from .stopping import ProxyStop

EXAMPLES = """
**Examples**

    # any tool with a base URL setting gets batch prices
    export OPENAI_API_KEY="$DOUBLEWORD_API_KEY"
    autobatcher serve --base-url https://api.doubleword.ai/v1
    # and where the tool runs
    export OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=dummy

    # larger batches, labelled for the provider's dashboard
    autobatcher serve --batch-size 5000 --batch-window 1m \\
      --batch-metadata benchmark_id=bench-2026-04-14 \\
      --batch-metadata k8s_job=perf-1234

    # after a crash and a restart, nothing is lost or paid twice
    autobatcher serve --journal batches.sqlite3

    # for other machines, with its own key
    AUTOBATCHER_PROXY_KEY=... autobatcher serve --host 0.0.0.0

    # behind a reverse proxy on this machine
    autobatcher serve --allowed-host batches.example.com
"""

OPEN_PROXY_WARNING = (
    "autobatcher serve: WARNING: anyone who can reach this port can spend your upstream key's money. "
    "Set --proxy-key (or AUTOBATCHER_PROXY_KEY), or listen on 127.0.0.1."
)

SHORT_KEY_WARNING = (
    "autobatcher serve: warning: the --proxy-key is short enough to be guessed. "
    "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
)


NO_KEY = "callers-send-their-own"
"""The key of a proxy without one, with --forward-keys: only /ready uses it."""


def serve(
    *,
    host: str = "127.0.0.1",
    port: Port = 8080,
    allowed_host: Hosts = None,
    cors_origin: Origins = None,
    proxy_key: Secret = None,
    proxy_key_file: Path | None = None,
    public_status: Switch = False,
    webhook_secret: Secret = None,
    webhook_secret_file: Path | None = None,
    forward_keys: Switch = False,
    max_cost_per_key: SpendingCap = None,
    input_price: Dollars | None = None,
    output_price: Dollars | None = None,
    saving: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 0.5,
    flags: ProxyFlags | None = None,
) -> int:
    """Run a local OpenAI-compatible proxy that sends its requests in batches.

    POST requests to /v1/chat/completions, /v1/embeddings, /v1/responses and the other batchable endpoints are gathered
    into upstream batches, and each client gets its own answer. With stream=true the finished answer is streamed. A
    client that disconnects and retries is reattached to its request. GET /v1/models is passed through; GET / is a live
    page, /metrics is for Prometheus, /ready says whether the upstream accepts the key, /health says ok.

    At start, while it listens, it asks the upstream for its list of batches and says in a line what it found. It exits
    2 if nothing can work: the key is refused, or there is no API at this URL. An outage is a warning. It exits 1 if
    another process uses the journal, or its PostgreSQL cannot be reached: the next start may work.

    Lifecycle events go to stdout, one JSON object per line, unless it is a terminal. Logs, and on a terminal a live
    status, go to stderr. Upon Ctrl-C, SIGTERM or SIGHUP nothing new is taken, what runs is waited for as --drain says,
    the rest is answered with a 503, active batches are cancelled upstream (or left to a --journal), and the exit code
    is 0. A second signal ends the waiting, a third one the process. On a terminal Ctrl-C asks first what becomes of
    paid batches. Every flag can also be set as AUTOBATCHER_FLAG_NAME.

    A DURATION is written 10s, 30m, 1.5h or 7d; a bare number is seconds. A SIZE is written 500kB, 64MB or 1GiB.

    Args:
        host: The address to listen on.
        port: The TCP port; 0 takes a free one.
        allowed_host: Also serve this name or address, by which a reverse proxy or another machine reaches it. On
            loopback only localhost, 127.0.0.1, [::1] and these are served; elsewhere any host is, unless this is given.
        cors_origin: Serve pages of this origin, such as https://app.example; * for all. Other pages are refused.
        proxy_key: Require this key on every route but /health, /ready and /openapi.json: as a bearer token, or in a
            browser as the password. Other users see the command line in `ps`: prefer AUTOBATCHER_PROXY_KEY or
            --proxy-key-file.
        proxy_key_file: A file with that key and nothing else.
        public_status: Let everybody read /, /status, /metrics and /receipt without that key.
        webhook_secret: The secret that signs the provider's webhooks (whsec_...), or several, separated by spaces. Then
            POST /webhooks is served: a batch that it says has ended is polled at once. Prefer the variable or the file.
        webhook_secret_file: A file with them and nothing else.
        forward_keys: Use each caller's own bearer token upstream; batches never mix keys. Not with --proxy-key.
        max_cost_per_key: The most that each caller's key may spend, in USD, such as 20 or 20/day. Needs --forward-keys.
        input_price: The real-time price of a million input tokens of any model, in dollars. --prices can say more.
        output_price: The same for output tokens.
        saving: The fraction of these two prices that a batch saves.
    """
    flags = flags or ProxyFlags()
    proxy_key = key_given(proxy_key, proxy_key_file, "--proxy-key")
    if proxy_key is not None and not proxy_key.strip():
        raise UsageError("--proxy-key (or AUTOBATCHER_PROXY_KEY) is empty: give a key, or omit it.")
    if forward_keys and proxy_key is not None:
        raise UsageError("--forward-keys and --proxy-key exclude each other: a caller has one bearer token to send.")
    if max_cost_per_key is not None and not forward_keys:
        raise UsageError(
            "--max-cost-per-key needs --forward-keys: else all callers share one key, and --max-cost is for that."
        )
    if proxy_key is not None and (mistake := key_mistake(proxy_key)) is not None:
        raise UsageError(f"--proxy-key (or AUTOBATCHER_PROXY_KEY) {mistake}.")
    secrets = webhook_secrets(webhook_secret, webhook_secret_file)
    served = hosts_served(host, allowed_host, cors_origin)
    prices = flat_prices(input_price, output_price, saving)
    if prices is not None and flags.prices is not None:  # type: ignore[attr-defined]  # a flag made from a setting
        raise UsageError("--prices has the prices: leave out --input-price and --output-price.")
    door = Door(host, port, proxy_key, forward_keys, max_cost_per_key, prices, served, public_status, secrets)
    start_logging(flags.log_level)
    with contextlib.ExitStack() as stack:
        # On a terminal the live status replaces the JSON lines.
        lines = None if sys.stdout.isatty() else stack.enter_context(event_lines(sys.stdout))
        return _serve_until_signalled(door, flags, lines)


@dataclass(frozen=True)
class Door:
    """The proxy's address, its authentication, what a key may spend, flat prices, its `ServedHosts`, and
    the secrets of webhooks."""

    host: str
    port: int
    proxy_key: str | None = field(repr=False)
    forward_keys: bool
    max_cost_per_key: str | None
    prices: GivenPrices | None
    hosts: Any
    public_status: bool = False
    webhook_secrets: Sequence[str] = field(default=(), repr=False)


def _serve_until_signalled(door: Door, flags: ProxyFlags, lines: EventLines | None) -> int:
    from ..server import Drain, Report, create_app  # here, because they are slow to import
    from ..server.report import shown_url

    if door.forward_keys and not flags.has_key:
        flags = replace(flags, api_key=NO_KEY)
    report = Report()
    tell = partial(_tell, report, lines)
    display = screen_on(PrintableConsole(stderr=True)).service_progress()
    client = flags.make_client(
        tell,
        keeps_journaled=True,
        forward_keys=door.forward_keys,
        max_cost_per_key=door.max_cost_per_key,
        flat_prices=door.prices,
        progress=display,
    )
    stop = ProxyStop("serve", client, Drain(report, flags.drain), question_here(display or None))
    sockets = listen_or_refuse(door.host, door.port)
    with contextlib.ExitStack() as stack:
        for each in sockets:
            stack.enter_context(each)
        bound = sockets[0].getsockname()[1]
        refuse_own_address(str(client.base_url), bound)
        warn_of_open_door(door)
        limits = flags.limits()
        client.show_at(f"http://{_shown(seen_host(door.host))}:{bound}/")
        app = create_app(
            client,
            proxy_key=door.proxy_key,
            public_status=door.public_status,
            forward_keys=door.forward_keys,
            limits=limits,
            report=report,
            hosts=door.hosts,
            request_log=stack.enter_context(request_log_at(flags.request_log)),
            webhook_secrets=door.webhook_secrets,
        )
        rules = flags.provider or profile_for(str(client.base_url)).name
        if rules == CONSERVATIVE.name:
            rules += ", which suit any provider"
        address = f"http://{_shown(door.host)}:{bound}/v1"
        print_notice(f"autobatcher serve: {address} -> {shown_url(client.base_url)} (rules: {rules})")
        for line in _how_to_use(door, f"http://{_shown(seen_host(door.host))}:{bound}"):
            print_notice(line)
        flags.say_if_lowered("serve", limits)
        work = partial(_serve, client, app, sockets, stop)
        if not flags.no_check:
            check = partial(refuse_hopeless, client, command="serve", forward_keys=door.forward_keys)
            work = partial(run_checked, check, work)
        with refused_journal_told(if_it_may_pass=PassingError):
            trio.run(run_with_signals, work)
        print_notice(stopped_line(report, has_journal=client.has_journal))
    return 0


def webhook_secrets(given: str | None, path: Path | None) -> Sequence[str]:
    """The secrets of a flag or of a file. Raises `UsageError` for one that cannot be used."""
    from ..server.webhook_event import secret_mistake  # here, because it is slow to import

    text = key_given(given, path, "--webhook-secret")
    secrets = () if text is None else tuple(text.split()) or ("",)
    for mistake in filter(None, map(secret_mistake, secrets)):
        raise UsageError(f"--webhook-secret (or AUTOBATCHER_WEBHOOK_SECRET) {mistake}.")
    return secrets


def _how_to_use(door: Door, url: str) -> Iterator[str]:
    """What programs need to come here. It never contains the key."""
    key = "anything" if door.proxy_key is None else "'<the key you gave it>'"
    if door.forward_keys:
        key = "'<a key of the provider>'"
    yield f"  {url}/ shows what it does"
    yield f"  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}"


def warn_of_open_door(door: Door) -> None:
    """Print a line if others can reach the proxy without a key, or with one that they can guess."""
    from ..server.keys import is_guessable

    if is_loopback(door.host) or door.forward_keys:
        return
    if door.proxy_key is None:
        print_notice(OPEN_PROXY_WARNING)
    elif is_guessable(door.proxy_key):
        print_notice(SHORT_KEY_WARNING)


@contextlib.contextmanager
def refused_journal_told(if_it_may_pass: type[UsageError] = UsageError) -> Iterator[None]:
    """Turn a `JournalError`, even in a group, into `UsageError`, or into another one if the next start may work."""
    refused: BaseException | None = None
    try:
        yield
    except* JournalError as group:
        refused = group
        while isinstance(refused, BaseExceptionGroup):
            refused = refused.exceptions[0]
    if isinstance(refused, JournalError):
        may_pass = isinstance(refused, JournalUnreachableError | JournalInUseError)
        made = if_it_may_pass if may_pass else UsageError
        raise made(f"--journal: {refused.message}")


def start_logging(level: str) -> None:
    """Log to stderr; autobatcher's own logs from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("autobatcher").setLevel(level.upper())


def listen_or_refuse(host: str, port: int) -> list[socket.socket]:
    """Listening sockets. Raises `UsageError` if the address cannot be used."""
    from ..server.hypercorn.worker import listen

    try:
        return listen(host, port)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot listen on --host {host} --port {port}: {reason}.") from error


def refuse_own_address(base_url: str, port: int) -> None:
    """Raise `UsageError` if the upstream is the proxy itself, which would loop forever."""
    upstream = urlsplit(base_url)
    if upstream.port == port and _is_this_machine(upstream.hostname or ""):
        raise UsageError(f"--base-url {base_url} is this proxy itself: give the provider's URL.")


def _is_this_machine(host: str) -> bool:
    if is_loopback(host) or host in ("0.0.0.0", "::", socket.gethostname()):  # noqa: S104  (compared, not bound)
        return True
    with contextlib.suppress(OSError):
        return is_loopback(socket.gethostbyname(host))
    return False


def _tell(report: Any, lines: EventLines | None, fields: dict[str, Any]) -> None:
    """Pass one event to stdout, the live status and the page."""
    if lines is not None:
        lines.write(fields)
    report.take_event(fields)


async def _serve(client: Any, app: Any, sockets: list[socket.socket], stop: ProxyStop, signals: StopSignals) -> None:
    from ..server import serve as serve_app

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop.upon, signals, nursery.cancel_scope)
        await serve_app(client, app, sockets, stop=stop.stop, drain=stop.drain)
        nursery.cancel_scope.cancel()


def seen_host(host: str) -> str:
    """Where others look for what listens there: of all addresses, this machine's name."""
    return socket.gethostname() if host in ("", "0.0.0.0", "::") else host  # noqa: S104  (compared, not bound)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
