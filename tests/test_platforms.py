"""Every module can be imported, and every command explains itself, where names of Linux are missing.

What runs here is Linux's Python without them: it finds what an import would trip over, and no more than that. The
session `types` has mypy look for names that Windows and macOS lack in all other code.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.processes import environment

SIMULATE = """
import importlib, os, pkgutil, signal, sys

def import_all():
    import autobatcher
    found = pkgutil.walk_packages(autobatcher.__path__, "autobatcher.")
    names = [module.name for module in found if module.name != "autobatcher.__main__"]
    for name in names:
        importlib.import_module(name)
    return names

# Other people's modules are imported for the platform that this is, ours again after it has changed.
before = import_all()
for name in [name for name in sys.modules if name.partition(".")[0] == "autobatcher"]:
    del sys.modules[name]

platform = sys.argv[1]
sys.platform = platform
if platform == "win32":
    for name in "SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGKILL SIGPIPE SIGALRM SIGCHLD SIGTSTP SIGCONT SIGWINCH".split():
        delattr(signal, name)
    for name in "fork register_at_fork killpg setsid getuid geteuid getpgid uname openpty O_CLOEXEC".split():
        delattr(os, name)
    for name in "resource fcntl pwd grp termios tty pty syslog".split():
        sys.modules[name] = None  # importing it raises ImportError

assert import_all() == before
from autobatcher.cli import main
for command in sys.argv[2:]:
    assert main([command, "--help"]) == 0, command
print(len(before), "modules")
"""
COMMANDS = ("serve", "run", "demo", "emulate", "prices", "status", "watch", "results", "cancel", "reconcile", "forget")


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_every_module_can_be_imported_and_every_command_explains_itself(platform: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIMULATE, platform, *COMMANDS],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    modules = int(done.stdout.splitlines()[-1].split()[0])
    assert modules > 100
