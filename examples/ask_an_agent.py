"""Ask an agent elsewhere, answer its question, and print what it makes.

greenroom serve examples/multi_turn.py:agent
python examples/ask_an_agent.py http://127.0.0.1:8000
"""

from __future__ import annotations

import sys

import anyio
import anyio.to_thread

from greenroom import Client
from greenroom.client import InputRequired


async def main(url: str) -> None:
    async with Client(url) as agent:
        result = await agent.run("Book me a trip")
        while isinstance(result, InputRequired):
            answer = await anyio.to_thread.run_sync(input, f"{result.question} ")
            result = await agent.reply(result, answer)
        print(result)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
