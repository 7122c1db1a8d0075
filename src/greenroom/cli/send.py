"""``greenroom send``: one message to an agent, and what comes back on the terminal.

What the agent made goes to standard output, what happens meanwhile to standard error.
"""

from __future__ import annotations

import argparse
import shlex
import ssl
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from math import inf, isinf
from typing import NamedTuple

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
from ..runtime.printable import printable_line
from ..transports.client.errors import HttpError, PeerError
from ..transports.client.http import Limits
from ..transports.client.peer import Peer
from ..transports.client.trust import Trust
from ..transports.client.urls import redacted
from . import tls as connecting
from .card_actions import read_trust
from .terminal import note, show

OK, ENDED, USAGE, REFUSED, WAITS = 0, 1, 2, 3, 4


class Request(NamedTuple):
    """What the command line asks for."""

    message: Message
    headers: Mapping[str, str]
    tls: ssl.SSLContext | None
    trust: Trust | None
    timeout: float | None


class Screen:
    """Prints a task as it becomes known; remembers its state and what was printed."""

    def __init__(self, url: str, trust: Sequence[str] = ()) -> None:
        """``trust`` are the options that whoever answers needs again."""
        self.url = redacted(url)
        self.trust = "".join(f" {shlex.quote(word)}" for word in trust)
        self.task_id: str | None = None
        self.state: TaskState | None = None
        self.replied = False
        """Whether a message came, which is the whole answer."""
        self._artifact: str | None = None
        self._open = False
        """The last line on standard output has no end yet."""

    def show(self, event: StreamResponse) -> None:
        if event.task is not None:
            self.show_task(event.task)
        elif event.message is not None:
            self.replied = True
            self.show_parts(event.message.parts)
            self.end()
            if not event.message.parts:
                self.note("(a message without content)")
        elif event.status_update is not None:
            self.task_id = event.status_update.task_id
            self.show_status(event.status_update.status)
        elif event.artifact_update is not None:
            update = event.artifact_update
            self.task_id = update.task_id
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
                text = printable_line(
                    f"<file {part.filename or ''} {part.media_type or ''} at {part.url}>"
                )
            else:
                size = len(part.raw or b"")
                text = printable_line(
                    f"<file {part.filename or ''} {part.media_type or ''}, {size} bytes>"
                )
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
        if self.replied or self.state is TaskState.COMPLETED:
            return OK
        if self.state is not None and self.state.terminal:
            return ENDED
        if self.state is not None and self.state.interrupted:
            address, task = shlex.quote(self.url), shlex.quote(self.task_id or "")
            self.note(f"answer with: greenroom send {address}{self.trust} --task {task} '...'")
        return WAITS

    def check_end(self, *, streamed: bool) -> None:
        """Raise PeerError where what came is no answer, or not all of it."""
        if self.replied or (self.state is not None and self.state.terminal):
            return
        if self.task_id is None:
            raise PeerError("the stream ended without an event" if streamed else _NOTHING)
        if self.state in (None, TaskState.UNSPECIFIED) and not streamed:
            raise PeerError(f"the task {self.task_id} has no state")
        if streamed and (self.state is None or not self.state.interrupted):
            was = "its state is not known" if self.state is None else f"it was {name(self.state)}"
            raise PeerError(f"the stream ended before the task {self.task_id} did: {was}")


_NOTHING = "the answer holds neither a task nor a message"


def send(options: argparse.Namespace) -> int:
    """Run the command; return its exit code (see ``greenroom.cli.main``)."""
    screen = Screen(options.url, _repeated(options))
    try:
        request = _request(options)
    except (ValueError, OSError) as error:
        screen.note(f"greenroom: {error}")
        return USAGE
    try:
        anyio.run(_send, options, request, screen)
    except TimeoutError:
        return _refused(screen, f"no answer in {request.timeout:g} s; the task may still go on")
    except (A2AError, HttpError, PeerError) as error:
        text = str(error)
        if isinstance(error, A2AError):
            text += f" ({type(error).__name__.removesuffix('Error')})"
        return _refused(screen, text + connecting.advice(error, options.url, options))
    return screen.finish()


def _refused(screen: Screen, text: str) -> int:
    screen.end()
    screen.note(f"greenroom: {text}")
    return REFUSED


def _repeated(options: argparse.Namespace) -> list[str]:
    """Return the options that an answer to the agent needs again; no credentials are printed."""
    words = []
    tls = {"--ca": options.ca, "--cert": options.cert, "--key": options.cert_key}
    for flag, file in tls.items():
        words += [flag, file] if file else []
    for option in ("trust_key", "trust_jwks", "trust_host"):
        for given in getattr(options, option):
            words += ["--" + option.replace("_", "-"), given]
    return words


def _request(options: argparse.Namespace) -> Request:
    """Return what the options ask for; raises ValueError and OSError where they are wrong."""
    headers = {}
    for field in options.header:
        key, colon, value = field.partition(":")
        if not colon:
            raise ValueError("--header: write NAME:VALUE")  # it may be a credential
        headers[key.strip()] = value.strip()
    if not options.timeout > 0:
        raise ValueError(f"--timeout {options.timeout:g}: write a number of seconds above 0")
    for flag in ("task", "context"):
        _check_unicode(f"--{flag}", getattr(options, flag) or "")
    message = Message(
        message_id=str(uuid.uuid4()),
        role=Role.USER,
        parts=[Part(text=_text(options.text))],
        task_id=options.task,
        context_id=options.context,
    )
    return Request(
        message=message,
        headers=headers,
        tls=connecting.context(options),
        trust=read_trust(options.trust_key, options.trust_jwks, options.trust_host),
        timeout=None if isinf(options.timeout) else options.timeout,
    )


def _text(argument: str) -> str:
    """Return the text to send; raises ValueError where it is not Unicode."""
    if argument != "-":
        _check_unicode("the text", argument)
        return argument
    try:
        text = sys.stdin.read().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is not {error.encoding}: {error.reason}") from None
    _check_unicode("standard input", text)
    return text


def _check_unicode(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is not UTF-8") from None


async def _send(options: argparse.Namespace, request: Request, screen: Screen) -> None:
    with anyio.fail_after(request.timeout):
        most = request.timeout or inf
        peer = await Peer.connect(
            options.url,
            version=options.version,
            headers=request.headers,
            origins=options.header_origin,
            limits=Limits(connect=min(10.0, most), silence=most, total=most),
            tls=request.tls,
            trust=request.trust,
        )
        if peer.withheld:
            screen.note(
                f"the agent is at {redacted(peer.interface.url)}: your headers stay with "
                f"{redacted(options.url)} (to send them there: --header-origin URL)"
            )
        async with peer:
            await _ask(peer, SendMessageRequest(message=request.message), options.stream, screen)


async def _ask(peer: Peer, asked: SendMessageRequest, stream: bool, screen: Screen) -> None:
    if not stream:
        answer = await peer.call(ops.SEND, asked)
        screen.show(StreamResponse(task=answer.task, message=answer.message))
    elif peer.card.capabilities.streaming is False:
        raise PeerError(f"{peer.card.name!r} does not stream; leave out --stream")
    else:
        async with aclosing(peer.events(ops.STREAM, asked)) as events:
            async for event in events:
                screen.show(event)
    screen.check_end(streamed=stream)


def name(state: TaskState) -> str:
    return state.name.lower().replace("_", "-")
