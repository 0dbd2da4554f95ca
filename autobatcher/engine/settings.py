"""Every setting, described once: name, type, default, unit, check, help.

The signatures of the clients, the flags of the command line and the table in docs/settings.md are made from `Settings`.
To add a setting, add a field, and run `nox -s settings`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal

from ..display.choice import ProgressSetting, checked_progress
from ..events import BatchEventHandler
from . import checks
from .lanes.deadline import checked_deadline
from .lanes.lane import checked_lanes
from .setting import Flag, Setting, descriptions

DAY = 86_400.0

_LEAST_EXPIRY, _MOST_EXPIRY = 3600, 30 * 86_400  # what `expires_after` takes, at OpenAI and at Doubleword


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How requests are gathered and batches looked after. The fields are `BatchOpenAI`'s parameters.

    Raises:
        TypeError, ValueError: naming the parameter, for a value that cannot work.
    """

    batch_size: Annotated[
        int,
        Setting("submit a batch when this many requests of a kind are queued", check=checks.count),
    ] = 1000
    batch_window_seconds: Annotated[
        float,
        Setting(
            "submit a batch this long after the first request of its window",
            unit="seconds",
            check=checks.seconds(least=0),
        ),
    ] = 10.0
    poll_interval_seconds: Annotated[
        float,
        Setting("how often a batch is polled", unit="seconds", check=checks.seconds(least=0.001)),
    ] = 5.0
    completion_window: Annotated[
        str,
        Setting(
            'how long the provider may take: a duration such as "24h" or "1h", as far as the provider sells it, or '
            '"background" at Doubleword, which is spare capacity, without a promise when',
            check=checks.completion_window,
            flag=Flag(help="how long the provider may take: 24h, 1h, ..., or background, as far as it sells that"),
        ),
    ] = checks.STANDARD_WINDOW
    deadline: Annotated[
        float | str | None,
        Setting(
            'by when each answer is needed, counted from its call: seconds, or a duration such as "45m"; None for no '
            "deadline. See docs/deadlines.md",
            check=checked_deadline,
            flag=Flag(help="by when each answer is needed, counted from its call, such as 45m; by default no deadline"),
        ),
    ] = None
    lanes: Annotated[
        Sequence[str] | None,
        Setting(
            'what may be used to get an answer, the cheapest first, of "batch", "flex" and "realtime"; None for the '
            "batch lane, and with a deadline the flex lane",
            check=checked_lanes,
            flag=Flag(
                help="what may be used, the cheapest first: batch, flex, realtime; by default batch, with a deadline "
                "flex, too"
            ),
        ),
    ] = None
    on_overrun: Annotated[
        Literal["miss", "pay_twice"],
        Setting(
            "if it cannot be known in time whether a line was executed: miss the deadline, or send it again, and "
            "perhaps pay twice",
            check=checks.one_of("miss", "pay_twice"),
        ),
    ] = "miss"
    on_missed: Annotated[
        Literal["raise", "wait"],
        Setting(
            "what a call does when its deadline has passed: raise `DeadlineMissedError`, or wait for its batch",
            check=checks.one_of("raise", "wait"),
        ),
    ] = "raise"
    lane_concurrency: Annotated[
        int,
        Setting("how many calls are made at once on the flex and real-time lanes", check=checks.count),
    ] = 32
    batch_metadata: Annotated[
        Mapping[str, str],
        Setting(
            "attached to every batch and every event; at most 16 pairs, keys of 64 and values of 512 characters",
            check=checks.metadata,
            flag=Flag(help="KEY=VALUE, attached to every batch and every event; can be given again"),
            shown_default="{}",
        ),
    ] = field(default_factory=dict)
    batch_event_handler: Annotated[
        BatchEventHandler | None,
        Setting(
            "called with each lifecycle event, as a dict; see `autobatcher.events`", check=checks.handler, flag=None
        ),
    ] = None
    progress: Annotated[
        ProgressSetting,
        Setting(
            "show how far the calls are; a function gets each `ProgressSnapshot` instead. See docs/progress.md",
            check=checked_progress,
            flag=None,
        ),
    ] = False
    tracing: Annotated[
        bool | None,
        Setting(
            "tell OpenTelemetry of calls and batches (extra `otel`); None does so if the program has set OpenTelemetry "
            "up before the first call. See docs/tracing.md",
            check=checks.tracing,
            flag=None,
        ),
    ] = None
    cancel_active_batches_on_close: Annotated[
        bool,
        Setting(
            "cancel batches upstream that still run when the client closes; else they run on, and are billed",
            check=checks.switch,
            flag=Flag(
                name="keep_active_batches_on_close",
                help=(
                    "leave batches running that still run at the end; by default they are cancelled upstream. With "
                    "--journal, serve always leaves them, for its next start, and run does if the command fails"
                ),
                negates=True,
            ),
        ),
    ] = False
    cancel_abandoned_batches: Annotated[
        bool,
        Setting("cancel a batch upstream once nobody waits for it any more", check=checks.switch, flag=None),
    ] = True
    delete_input_files: Annotated[
        bool,
        Setting(
            "delete an input file upstream once its batch has been read; not where that would delete the batch, as at "
            "Doubleword: there it expires",
            check=checks.switch,
            flag=Flag(
                name="keep_input_files",
                help="leave input files upstream; by default they are deleted once their batch has been read",
                negates=True,
            ),
        ),
    ] = True
    deadline_slack_seconds: Annotated[
        float,
        Setting(
            "how long after its completion window a batch may still be on its way to an end, since providers overrun "
            "by minutes; then its callers get a `BatchTimeoutError`, and it is cancelled upstream",
            unit="seconds",
            check=checks.seconds(least=0),
            flag=Flag(help="give a batch up this long after the end of its completion window"),
        ),
    ] = 3600.0
    missing_lines: Annotated[
        Literal["fail", "resubmit"],
        Setting(
            "what happens to a request whose line is in neither file of a batch that counts it as done: an error, or "
            "another batch, as a retry; the line may have been paid for",
            check=checks.one_of("fail", "resubmit"),
            flag=Flag(help="what happens to a line that is in neither file of a batch that counts it as done"),
        ),
    ] = "fail"
    upload_timeout_seconds: Annotated[
        float,
        Setting(
            "how long the upstream may be silent during an upload, plus a second for each MB: it may check every line "
            "before it answers",
            unit="seconds",
            check=checks.seconds(least=1),
            flag=Flag(help="how long the upstream may be silent during an upload, plus a second for each MB"),
        ),
    ] = 600.0
    max_active_batches: Annotated[
        int,
        Setting("how many batches may be under way; further ones wait", check=checks.count),
    ] = 200
    isolate_accounts: Annotated[
        bool,
        Setting(
            "whether the accounts (keys) of one client belong to strangers: then none may hold more of "
            "`max_active_batches`, `max_queued_bytes`, uploads and polls than it leaves free for the others",
            check=checks.switch,
            flag=None,
        ),
    ] = False
    max_queued_bytes: Annotated[
        int,
        Setting(
            "how many bytes of request bodies may wait to be uploaded; further calls wait until there is room, and "
            "`serve` answers them with a 503",
            unit="bytes",
            check=checks.count,
            flag=Flag(help="how many bytes of requests may arrive or wait to be uploaded; further ones get a 503"),
        ),
    ] = 1_000_000_000
    max_answer_bytes: Annotated[
        int,
        Setting(
            "how long a line of a result file may be; the caller of a longer one gets a `BatchEndedError`. The largest "
            "honest answers are embeddings: 2,048 inputs with 3,072 numbers each are 140 MB",
            unit="bytes",
            check=checks.count,
            flag=Flag(help="how long one answer may be; a longer one is an error of its caller"),
        ),
    ] = 256_000_000
    max_cost: Annotated[
        Decimal | float | str | None,
        Setting(
            'the most that may be spent, in USD: 20, or "20/day" ("hour", "week", "month"); a call that might cost '
            "more than is left gets a `BudgetExceededError` at once. See docs/cost.md",
            check=checks.cap,
            flag=Flag(help="the most that may be spent, in USD, such as 20 or 20/day; further calls are refused"),
        ),
    ] = None
    max_cost_per_account: Annotated[
        Decimal | float | str | None,
        Setting("the same for each account (key) by itself", check=checks.cap, flag=None),
    ] = None
    budget: Annotated[
        str,
        Setting(
            "the name under which a journal adds up what is spent: processes with the same journal and budget share "
            "`max_cost`",
            check=checks.name,
            flag=Flag(help="the name under which the journal adds up what counts against --max-cost"),
        ),
    ] = "default"
    unknown_prices: Annotated[
        Literal["admit", "refuse"],
        Setting(
            "what happens to calls whose price is unknown: they count nothing against `max_cost`, or are refused",
            check=checks.one_of("admit", "refuse"),
            flag=Flag(help="whether calls of unknown price are admitted and count nothing, or are refused"),
        ),
    ] = "admit"
    prices: Annotated[
        Mapping[str, Any] | str | os.PathLike[str] | None,
        Setting(
            "prices that come before those of the provider and of genai-prices: a dict, or the path of a TOML file; "
            "see docs/cost.md",
            check=checks.prices,
            flag=Flag(help="a TOML file with prices, which come before those that are known"),
        ),
    ] = None
    journal: Annotated[
        str | os.PathLike[str] | None,
        Setting(
            "the path of a file (SQLite) in which batches, prompts and answers are kept, so that a program that died "
            "can be run again without paying twice: see docs/journal.md. One engine at a time can use it. Or the URL "
            "of a PostgreSQL (postgresql://user@host/database), which any number of engines share: see docs/scale.md",
            check=checks.journal,
            flag=Flag(
                help=(
                    "keep batches, prompts and answers in this file (SQLite), so that nothing is lost or paid twice if "
                    "this process dies: started again with the same file, the same requests get their places back. "
                    "One process at a time. Or at this URL (postgresql://user@host/database), which processes share; "
                    "its password is better in a file: see docs/scale.md"
                )
            ),
        ),
    ] = None
    journal_hash_only: Annotated[
        bool,
        Setting(
            "keep no prompts and no answers in the journal; batches are found again all the same", check=checks.switch
        ),
    ] = False
    journal_patience_seconds: Annotated[
        float,
        Setting(
            "how long requests wait for the database of a journal on PostgreSQL while it cannot be reached, before "
            "they fail with `JournalUnreachableError`",
            unit="seconds",
            check=checks.seconds(least=0),
        ),
    ] = 60.0
    journal_retention_seconds: Annotated[
        float,
        Setting(
            "how long the journal keeps answers that nobody takes: a program that failed on Friday is run again on "
            "Monday",
            unit="seconds",
            check=checks.seconds(least=0),
        ),
    ] = 7 * DAY

    def __post_init__(self) -> None:
        explicit = None if isinstance(self.completion_window, checks.StandardWindow) else self.completion_window
        object.__setattr__(self, "_explicit_window", explicit)
        for described in descriptions(Settings):
            object.__setattr__(self, described.name, described.checked(getattr(self, described.name)))

    @property
    def explicit_completion_window(self) -> str | None:
        """The completion window that the user asked for; None if a deadline may choose one."""
        explicit: str | None = vars(self)["_explicit_window"]
        return explicit

    @property
    def batch_deadline_seconds(self) -> float:
        """`deadline_seconds_of` a batch of the ordinary completion window."""
        return self.deadline_seconds_of(self.completion_window)

    def deadline_seconds_of(self, completion_window: str) -> float:
        """How long after its creation a batch is given up; infinite for a window that is no duration."""
        return checks.completion_window_seconds(completion_window) + self.deadline_slack_seconds

    @property
    def file_expiry_seconds(self) -> int:
        """After how long an upstream may delete an input file: after its batch's end, within the API's limits."""
        return int(min(max(self.batch_deadline_seconds + DAY, _LEAST_EXPIRY), _MOST_EXPIRY))
