"""What one writes by hand with the official SDK: a file up, a batch, a file down. Nothing is split, resumed or checked.

python benchmarks/sdk_script.py IN OUT
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import openai

POLL_SECONDS = 0.05


async def main(source: Path, out: Path) -> None:
    async with openai.AsyncOpenAI() as client:
        file = await client.files.create(file=source, purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        while batch.status != "completed":
            await asyncio.sleep(POLL_SECONDS)
            batch = await client.batches.retrieve(batch.id)
        assert batch.output_file_id is not None
        answers = await client.files.content(batch.output_file_id)
        answers.write_to_file(out)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
