"""The matrix: what goes wrong, and what autobatcher owes its callers then."""

from __future__ import annotations

from dataclasses import dataclass

from autobatcher.emulator import BatchFault, Fault, FaultPlan, HttpFault, LineFault

CALLERS = 20


@dataclass(frozen=True, kw_only=True)
class BadDay:
    """A row.

    Attributes:
        name: what it is called in documents.
        plan: the emulator's faults.
        owed: how many callers must have their own answer, if the library is ours.
        may_wait: how many may still wait at the limit then.
        billed: how many prompts must be billed then, each once; None: fewer than all.
        batch_seconds: how long a batch takes.
        limit_seconds: who has nothing by then has nothing.
        models: those that callers ask for, in turn.
        suffix: what each prompt ends with.
        ends: what becomes of the callers, or of their process, when there is a batch: "cancelled" or "killed".
        is_outage: libraries poll at a tenth of their own default, since the day has a tenth of its real length.
    """

    name: str
    plan: tuple[Fault, ...] = ()
    owed: int = CALLERS
    may_wait: int = 0
    billed: int | None = CALLERS
    batch_seconds: float = 2.0
    limit_seconds: float = 90.0
    models: tuple[str, ...] = ("gpt-4o-mini",)
    suffix: str = ""
    ends: str = ""
    is_outage: bool = False

    @property
    def faults(self) -> FaultPlan:
        return FaultPlan(self.plan)

    @property
    def prompts(self) -> list[tuple[str, str]]:
        """The model and the text of each caller."""
        names = [self.models[number % len(self.models)] for number in range(CALLERS)]
        return [(name, f"caller {number}.{self.suffix}") for number, name in enumerate(names)]


A_LINE = "caller 7."

BAD_DAYS = (
    BadDay(name="nothing goes wrong"),
    BadDay(
        name="five lines of the first batch fail with 500",
        plan=(LineFault(kind="fail", lines=(2, 5, 8, 11, 20), batches=(1,), status=500),),
    ),
    BadDay(
        name="five lines of the first batch fail with 429",
        plan=(LineFault(kind="fail", lines=(2, 5, 8, 11, 20), batches=(1,), status=429),),
    ),
    BadDay(name="the first batch expires half done", plan=(BatchFault(nth=(1,), ends="expired", after=0.5),)),
    BadDay(
        name="the answer to `POST /batches` is lost",
        plan=(HttpFault(operation="batches.create", nth=(1,), lose_answer=True),),
    ),
    BadDay(
        name="`POST /batches` is refused twice with 429 and `Retry-After`",
        plan=(HttpFault(operation="batches.create", first=2, status=429, headers={"retry-after": "1"}),),
    ),
    BadDay(name="the upload is cut off", plan=(HttpFault(operation="files.create", nth=(1,), disconnect=True),)),
    BadDay(
        name="uploads answer 503 for a minute, in a tenth of the time",
        plan=(HttpFault(operation="files.create", until_seconds=6.0, status=503),),
        is_outage=True,
    ),
    BadDay(
        name="polls answer 503 for a minute, in a tenth of the time",
        plan=(HttpFault(operation="batches.retrieve", from_seconds=1.0, until_seconds=7.0, status=503),),
        is_outage=True,
    ),
    BadDay(
        name="the output file is not there yet: 404 twice",
        plan=(HttpFault(operation="files.content", first=2, status=404),),
    ),
    BadDay(
        name="the output file is cut off, twice",
        plan=(HttpFault(operation="files.content", first=2, cut_after_bytes=1000),),
    ),
    BadDay(
        name="a line was executed, and is in neither file",
        plan=(LineFault(kind="drop", lines=(7,), batches=(1,), billed=True),),
        owed=CALLERS - 1,
        may_wait=1,
    ),
    BadDay(name="results come twice", plan=(LineFault(kind="duplicate"),)),
    BadDay(name="answers contain U+2028, unescaped", suffix="\u2028next line"),
    BadDay(
        name="one caller's request is refused at validation, and the batch with it",
        plan=(LineFault(kind="refuse", containing=A_LINE),),
        owed=CALLERS - 1,
        billed=CALLERS - 1,
    ),
    BadDay(name="callers ask for two models, and a batch may have one", models=("gpt-4o-mini", "gpt-4.1-mini")),
    BadDay(name="the process is killed while a batch runs, and run again", batch_seconds=6.0, ends="killed"),
    BadDay(
        name="all callers are cancelled while a batch runs", batch_seconds=8.0, ends="cancelled", owed=0, billed=None
    ),
)
