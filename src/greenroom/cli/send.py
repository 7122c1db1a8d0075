"""``greenroom send``: one message to an agent, and what comes back on the terminal.

What the agent made goes to standard output, what happens meanwhile to standard error.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import uuid
from collections.abc import Sequence
from contextlib import aclosing

import anyio
import msgspec

from ..protocol import operations as ops
from ..protocol.errors import A2AError
from ..protocol.types import (
    Message,
    Part,
    Role,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskState,
    TaskStatus,
)
from ..transports.client.http import HttpError, Limits
from ..transports.client.peer import Peer, PeerError
from . import tls as connecting
from .card_actions import read_trust
from .terminal import note, show

OK, ENDED, USAGE, REFUSED, WAITS = 0, 1, 2, 3, 4


class Screen:
    """Prints a task as it becomes known; remembers its state and what was printed."""

    def __init__(self, url: str, trust: Sequence[str] = ()) -> None:
        """``trust`` are the options that whoever answers needs again."""
        self.url = url
        self.trust = "".join(f" {shlex.quote(word)}" for word in trust)
        self.task_id: str | None = None
        self.state: TaskState | None = None
        self._artifact: str | None = None
        self._open = False
        """The last line on standard output has no end yet."""

    def show(self, event: StreamResponse) -> None:
        if event.task is not None:
            self.show_task(event.task)
        elif event.message is not None:
            self.show_parts(event.message.parts)
            self.end()
        elif event.status_update is not None:
            self.task_id = event.status_update.task_id
            self.show_status(event.status_update.status)
        elif event.artifact_update is not None:
            update = event.artifact_update
            if update.artifact.artifact_id != self._artifact or not update.append:
                self.end()
                self._artifact = update.artifact.artifact_id
                self.note(f"[{update.artifact.name or update.artifact.artifact_id}]")
            self.show_parts(update.artifact.parts)
            if update.last_chunk:
                self.end()

    def show_task(self, task: Task) -> None:
        self.task_id = task.id
        for artifact in task.artifacts or ():
            self.note(f"[{artifact.name or artifact.artifact_id}]")
            self.show_parts(artifact.parts)
            self.end()
        self.show_status(task.status)

    def show_status(self, status: TaskStatus) -> None:
        self.state = status.state
        self.end()
        said = f": {status.message.text}" if status.message is not None else ""
        self.note(f"({name(status.state)}){said}")

    def show_parts(self, parts: list[Part]) -> None:
        for part in parts:
            if part.text is not None:
                text = part.text
            elif part.data is not msgspec.UNSET:
                text = msgspec.json.format(msgspec.json.encode(part.data), indent=2).decode()
            elif part.url is not None:
                text = f"<file {part.filename or ''} {part.media_type or ''} at {part.url}>"
            else:
                size = len(part.raw or b"")
                text = f"<file {part.filename or ''} {part.media_type or ''}, {size} bytes>"
            show(text)
            self._open = not text.endswith("\n")
        sys.stdout.flush()

    def end(self) -> None:
        """Close the line that is open."""
        if self._open:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._open = False

    def note(self, text: str) -> None:
        note(text)

    def finish(self) -> int:
        """Say how to go on; return the exit code."""
        self.end()
        if self.state is None or self.state is TaskState.COMPLETED:
            return OK
        if self.state.terminal:
            return ENDED
        if self.state.interrupted:
            address, task = shlex.quote(self.url), shlex.quote(self.task_id or "")
            self.note(f"answer with: greenroom send {address}{self.trust} --task {task} '...'")
        return WAITS


def send(options: argparse.Namespace) -> int:
    """Run the command; return its exit code (see ``greenroom.cli.main``)."""
    trust = []
    tls = {"--ca": options.ca, "--cert": options.cert, "--key": options.cert_key}
    for flag, file in tls.items():
        trust += [flag, file] if file else []
    for option in ("trust_key", "trust_jwks", "trust_host"):
        for given in getattr(options, option):
            trust += ["--" + option.replace("_", "-"), given]
    screen = Screen(options.url, trust)
    try:
        anyio.run(_send, options, screen)
    except ValueError as error:
        screen.note(f"greenroom: {error}")
        return USAGE
    except (A2AError, HttpError, PeerError) as error:
        screen.end()
        told = f"greenroom: {error}"
        if isinstance(error, A2AError):
            told += f" ({type(error).__name__.removesuffix('Error')})"
        screen.note(told + connecting.advice(error, options.url, options))
        return REFUSED
    return screen.finish()


async def _send(options: argparse.Namespace, screen: Screen) -> None:
    text = sys.stdin.read() if options.text == "-" else options.text
    headers = {}
    for field in options.header:
        key, colon, value = field.partition(":")
        if not colon:
            raise ValueError("a --header has no colon: write NAME:VALUE")
        headers[key.strip()] = value.strip()
    tls = connecting.context(options)
    try:
        trust = read_trust(options.trust_key, options.trust_jwks, options.trust_host)
    except OSError as error:
        raise ValueError(str(error)) from None
    peer = await Peer.connect(
        options.url,
        version=options.version,
        headers=headers,
        limits=Limits(silence=options.timeout),
        tls=tls,
        trust=trust,
    )
    message = Message(
        message_id=str(uuid.uuid4()),
        role=Role.USER,
        parts=[Part(text=text)],
        task_id=options.task,
        context_id=options.context,
    )
    asked = SendMessageRequest(message=message)
    if not options.stream:
        answer = await peer.call(ops.SEND, asked)
        screen.show(StreamResponse(task=answer.task, message=answer.message))
        return
    if peer.card.capabilities.streaming is False:
        raise PeerError(f"{peer.card.name!r} does not stream; leave out --stream")
    async with aclosing(peer.events(ops.STREAM, asked)) as events:
        async for event in events:
            screen.show(event)


def name(state: TaskState) -> str:
    return state.name.lower().replace("_", "-")
