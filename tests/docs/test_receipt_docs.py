"""What docs/cost.md shows of caps and receipts is what they do."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from contextlib import closing
from pathlib import Path

import pytest
import trio

from autobatcher.cli import main
from autobatcher.engine.journal.charges import NewCharge
from autobatcher.engine.journal.store import Store
from autobatcher.money.ledger import Charge, Fate, Sort
from autobatcher.money.usage import Usage
from tests.journal.records import a_record
from tests.server.proxies import open_proxy

pytestmark = pytest.mark.real_time

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cost.md").read_text(encoding="utf-8")
PRICES = {"my-model": {"input": "0.40", "output": "1.60", "batch": {"input": "0.20", "output": "0.80"}}}


def shown(what: str, pattern: str) -> tuple[str, ...]:
    (found,) = re.findall(rf"<!-- {what} -->\n{pattern}", DOCUMENT, re.DOTALL)
    return found if isinstance(found, tuple) else (found,)


def test_the_pages_cap_is_what_the_example_meets() -> None:
    example, printed = shown("example: cap", "```python\n(.*?)```\n\n```text\n(.*?)```")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(example, "docs/cost.md", "exec"), {})
    assert out.getvalue() == printed


def test_the_pages_refusal_is_what_the_proxy_answers() -> None:
    async def refusal() -> object:
        with trio.fail_after(30):
            async with open_proxy(max_cost="0.0005/day", prices=PRICES) as proxy, proxy.http() as http:
                question = [{"role": "user", "content": "Name a colour."}]
                body = {"model": "my-model", "messages": question, "max_tokens": 900}
                return (await http.post("/v1/chat/completions", json=body)).json()

    (told,) = shown("example: refusal", "```json\n(.*?)```")
    assert trio.run(refusal) == json.loads(told)


def test_the_pages_receipt_is_what_the_command_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, printed = shown("command: receipt", "```console\n\\$ autobatcher (.*?)\n(.*?)```")
    (prices,) = re.findall(r"<!-- file: prices.toml -->\n```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "prices.toml").write_text(prices, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    with closing(Store(tmp_path / "journal.sqlite3")) as store:
        store.intend(a_record("one"), [], is_hash_only=False)
        new = [_charge("my-model", Fate.DELIVERED)] * 3 + [
            _charge("my-model", Fate.PAID_TWICE),
            _charge("m", Fate.DELIVERED),
        ]
        store.answer((), [NewCharge("one", each) for each in new], now=1_800_000_000)
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == printed


def _charge(model: str, fate: Fate) -> Charge:
    sort = Sort("openai", "http://my-gateway.test/v1", model, "/v1/responses", "batch", "24h", fate)
    return Charge(sort, Usage(input=200_000, output=50_000), "batch_1")
