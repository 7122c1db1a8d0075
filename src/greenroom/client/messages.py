"""Messages out of what a program has at hand: text, values, files, and the type it wants back."""

from __future__ import annotations

import mimetypes
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..protocol.types import Message, Part, Role, Task
from ..runtime.answers import InvalidAnswer, answer
from ..runtime.content import Content, is_pydantic, parts_of
from .results import AuthRequired, InputRequired, InvalidOutputError

File = Path | Part
_FENCED = re.compile(r"(?s)```[a-zA-Z]*\s*\n(.*?)\n\s*```")


def message_of(
    content: Content | Message,
    *,
    files: Iterable[File] = (),
    output: Any = None,
    task: Task | InputRequired | AuthRequired | str | None = None,
    context_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Message:
    """Return the message to send. Its ``messageId`` is new, and stays the same if it is repeated.

    Files of a disk are read now. Raises OSError, and TypeError for what cannot be sent.
    """
    if isinstance(content, Message):
        return content
    parts = parts_of(content)
    if output is not None:
        # The place where CrewAI's servers look for the schema.
        wanted = {"mimeType": "application/json", "schema": schema_of(output)}
        first = parts[0]
        parts[0] = msgspec.structs.replace(first, metadata={**(first.metadata or {}), **wanted})
    waiting = task.task if isinstance(task, InputRequired | AuthRequired) else task
    if isinstance(waiting, Task):
        context_id = context_id or waiting.context_id
    return Message(
        message_id=str(uuid.uuid4()),
        role=Role.USER,
        parts=[*parts, *map(_file, files)],
        task_id=waiting.id if isinstance(waiting, Task) else waiting,
        context_id=context_id,
        metadata=dict(metadata) if metadata else None,
    )


def _file(file: File) -> Part:
    if isinstance(file, Part):
        return file
    media_type, _ = mimetypes.guess_type(file.name)
    return Part(
        raw=file.read_bytes(),
        filename=file.name,
        media_type=media_type or "application/octet-stream",
    )


def schema_of(annotation: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type. Raises TypeError where it has none."""
    if is_pydantic(annotation):
        schema: dict[str, Any] = annotation.model_json_schema()
        return schema
    return msgspec.json.schema(annotation)


def output_of(result: Task | Message, annotation: Any) -> Any:
    """Return what the agent made, as ``annotation``: from data, JSON text, or JSON in a fence.

    Raises InvalidOutputError.
    """
    if isinstance(result, Message):
        groups = [result.parts]
    else:
        groups = [artifact.parts for artifact in result.artifacts or ()]
        if result.status.message is not None:
            groups.append(result.status.message.parts)
    why = "it made nothing"
    for parts in groups:
        try:
            return answer(_joined(parts), annotation)
        except InvalidAnswer as error:
            why = str(error)
    raise InvalidOutputError(f"the agent's answer cannot be read: {why}", result)


def _joined(parts: list[Part]) -> list[Part]:
    """Return data as it is, and chunks of text as the one text that they make."""
    if any(part.data is not msgspec.UNSET for part in parts):
        return parts
    text = "".join(part.text for part in parts if part.text is not None)
    fenced = _FENCED.search(text)
    return [Part(text=fenced[1] if fenced else text)]
