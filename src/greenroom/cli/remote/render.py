"""Tasks, messages and events on standard output: labelled lines, or the JSON of the protocol."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from ...protocol.types import Artifact, Message, Part, StreamResponse, Task, TaskStatus
from ...runtime.printable import printable_line
from ..terminal import say, show, show_json


class Output:
    """``json``: one document, or with ``lines`` one event a line."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    def document(self, value: Any) -> None:
        """Print a protocol object as JSON."""
        show_json(msgspec.json.encode(value).decode())
        sys.stdout.flush()

    def event(self, event: StreamResponse) -> None:
        if self.json:
            self.document(event)
        elif event.task is not None:
            self.task(event.task)
        elif event.message is not None:
            self.message(event.message)
        elif event.status_update is not None:
            update = event.status_update
            _identity(update.task_id, update.context_id, update.status)
        elif event.artifact_update is not None:
            _artifact(event.artifact_update.artifact)
        sys.stdout.flush()

    def task(self, task: Task) -> None:
        if self.json:
            self.document(task)
            return
        for artifact in task.artifacts or ():
            _artifact(artifact)
        _identity(task.id, task.context_id, task.status)

    def message(self, message: Message) -> None:
        if self.json:
            self.document(message)
            return
        _block("Message", message.parts)
        if message.context_id:
            say(f"Context: {message.context_id}")


def _identity(task_id: str, context_id: str | None, status: TaskStatus) -> None:
    if status.message is not None:
        _block("Message", status.message.parts)
    say(f"Task: {task_id}")
    say(f"Context: {context_id or ''}")
    say(f"State: {status.state.value}")


def _artifact(artifact: Artifact) -> None:
    _block(f"Artifact {artifact.name or artifact.artifact_id}", artifact.parts)


def _block(label: str, parts: list[Part]) -> None:
    say(f"{label}:")
    text = "".join(map(_text, parts)).rstrip("\n")
    show(f"{text}\n\n")


def _text(part: Part) -> str:
    if part.text is not None:
        return part.text
    if part.data is not msgspec.UNSET:
        return msgspec.json.format(msgspec.json.encode(part.data), indent=2).decode() + "\n"
    name, kind = part.filename or "file", part.media_type or "application/octet-stream"
    where = f"at {part.url}" if part.url is not None else f"{len(part.raw or b'')} bytes"
    return printable_line(f"[{name}, {kind}, {where}]") + "\n"
