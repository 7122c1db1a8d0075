"""Handlers that are generators: what they yield is streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ...protocol.types import Artifact
from ..durable.artifacts import ArtifactWriter
from ..durable.run import Run
from .context import TaskContext
from .outcome import RESULT, InputRequired


async def pump(context: TaskContext, run: Run, generator: AsyncGenerator[Any, None]) -> Any:
    """Stream what a generator handler yields: chunks of one artifact, or whole artifacts.

    An ``InputRequired`` that it yields ends the turn.
    """
    async with aclosing(generator) as produced:
        writer = ArtifactWriter(run, Artifact(artifact_id=RESULT, name=RESULT, parts=[]))
        async with writer:
            async for item in produced:
                if isinstance(item, InputRequired):
                    return item
                if isinstance(item, Artifact):
                    await context.artifact(item.name or item.artifact_id, item)
                else:
                    await writer.write(item)
    return None
