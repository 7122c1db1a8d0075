"""The same tiny agents written for each server we race; run in the benchmark's own environment.

Agents, by name: `task` (submitted, working, one text artifact, completed), `message` (a direct
reply), `paced` and `together` (100 text chunks of one artifact, the loop yielded to between chunks
or not), `ask` (working, then input-required, at every turn), `chunks` (as many chunks as the text
says, then input-required), `idle` (working, and then nothing for ever).
"""

AGENTS = ("task", "message", "paced", "together", "ask", "chunks", "idle")
CHUNKS = 100
CHUNK = "a chunk of text, some forty bytes long; "
