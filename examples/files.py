"""Files in, files out: counts the words of every text file it is sent.

greenroom serve examples/files.py:agent
"""

from __future__ import annotations

from greenroom import Agent, Part, TaskContext

agent = Agent(
    "Word counter",
    "Counts the words of text files.",
    input_modes=["text/plain"],
    output_modes=["text/csv"],
)


@agent.handler
async def count(ctx: TaskContext) -> None:
    files = [part for part in ctx.files if part.raw is not None]
    if not files:
        await ctx.reject("Send me at least one text file.")
    rows = ["file,words"]
    for part in files:
        words = (part.raw or b"").decode(errors="replace").split()
        rows.append(f"{part.filename or 'unnamed'},{len(words)}")
    table = Part(raw="\n".join(rows).encode(), filename="words.csv", media_type="text/csv")
    await ctx.artifact("words", table)
