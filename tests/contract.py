"""`python tests/contract.py`: schemathesis against a running proxy, by its own OpenAPI description. `nox -s contract`.

No answer may be a server error of ours, whatever is sent. The upstream is an emulator; both are processes of their own.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[str]:
    """The base URL, without /v1, that an autobatcher command says it listens on."""
    command = [sys.executable, "-m", "autobatcher", *arguments, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        yield next(found[1] for line in process.stdout if (found := re.search(r"(http://[0-9.]+:\d+)/v1", line)))
        process.terminate()


def main() -> int:
    examples = sys.argv[1] if len(sys.argv) > 1 else "10"
    with (
        started("emulate") as upstream,
        started(
            *("serve", "--base-url", f"{upstream}/v1", "--api-key", "any"),
            *("--batch-window", "0.02", "--poll-interval", "0.02", "--max-retries", "0"),
            *("--webhook-secret", "whsec_AAAA"),
        ) as proxy,
    ):
        command = ["schemathesis", "run", f"{proxy}/openapi.json", "--checks", "not_a_server_error", "--workers", "4"]
        return subprocess.run([*command, "--max-examples", examples, "--request-timeout", "20"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
