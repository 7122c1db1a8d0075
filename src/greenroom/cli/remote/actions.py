"""What the commands for agents elsewhere do."""

from __future__ import annotations

import argparse
import mimetypes
import sys
import uuid
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import msgspec

from ...client import (
    ApiKey,
    AuthorizationCode,
    AuthRequired,
    Bearer,
    Client,
    ClientCredentials,
    DeviceCode,
    DevicePrompt,
    InputRequired,
    TaskEndedError,
    Updates,
)
from ...protocol.cards.shapes import card_json
from ...protocol.types import Message, Part, Role, StreamResponse, Task
from ...transports.client.auth.credential import Credential
from ...transports.client.auth.keyring import Keyring
from ...transports.client.credentials import Credentials
from ...transports.client.discovery import card_limits, fetch_card
from ...transports.client.http import HttpClient
from ...transports.client.requests import Outgoing
from .. import tls as connecting
from ..terminal import note, say, show_json
from . import tokens
from .failures import KNOWN, failure_of, tell
from .render import Output


def run(parsed: argparse.Namespace) -> int:
    """Carry the command out; return the exit code."""
    json = parsed.output == "json"
    try:
        auth = _auth(parsed)
    except ValueError as error:
        return tell(failure_of(error, credentials=False), json=json)
    try:
        return anyio.run(_run, parsed, auth)
    except KNOWN as error:
        return tell(failure_of(error, credentials=bool(auth)), json=json)


async def _run(parsed: argparse.Namespace, auth: list[Credential]) -> int:
    with anyio.fail_after(parsed.timeout):
        if parsed.command == "auth":
            await _login(parsed)
            return 0
        async with _client(parsed, auth) as client:
            await _action(parsed)(client, parsed, Output(json=parsed.output == "json"))
    return 0


_Action = Callable[[Client, argparse.Namespace, Output], Coroutine[Any, Any, None]]


def _action(parsed: argparse.Namespace) -> _Action:
    if parsed.command == "send":
        return _send
    if parsed.command == "card":
        return _card
    return {"get": _get, "cancel": _cancel, "subscribe": _subscribe, "list": _list}[parsed.action]


def _auth(parsed: argparse.Namespace) -> list[Credential]:
    given: list[Credential] = []
    if parsed.bearer:
        given.append(Bearer(parsed.bearer))
    if parsed.api_key:
        given.append(ApiKey(parsed.api_key))
    known = parsed.agent_card.lower().startswith(("http://", "https://"))
    if not given and known and (stored := tokens.load(parsed.agent_card)) is not None:
        given.append(Bearer(stored))
    return given


def _client(parsed: argparse.Namespace, auth: list[Credential]) -> Client:
    headers = {}
    for field in parsed.svc_param:
        name, colon, value = field.partition(":")
        if not colon:
            raise ValueError("--svc-param: write NAME:VALUE")  # it may be a credential
        headers[name.strip()] = value.strip()
    interval = getattr(parsed, "poll_interval", None)
    return Client(
        parsed.agent_card,
        auth=auth,
        headers=headers,
        version=parsed.a2a_version,
        bindings=parsed.transport,
        updates=None if interval is None else Updates(interval=interval, longest=interval * 8),
        tls=connecting.context(parsed),
    )


# --- send -----------------------------------------------------------------------------------------


async def _send(client: Client, parsed: argparse.Namespace, output: Output) -> None:
    message = _message(parsed)
    if parsed.no_wait:
        _answered(await client.send(message), output)
    elif parsed.stream:
        await _followed(client.stream(message), parsed, output)
    else:
        try:
            result = await client.run(message)
        except TaskEndedError as error:
            result = error.task
        if isinstance(result, InputRequired | AuthRequired):
            _answered(result.task, output)
            _resume(parsed, result.task.id)
        else:
            _answered(result, output)


def _answered(answer: Task | Message, output: Output) -> None:
    if output.json:
        output.document({"task" if isinstance(answer, Task) else "message": answer})
    elif isinstance(answer, Task):
        output.task(answer)
    else:
        output.message(answer)


async def _followed(events: Any, parsed: argparse.Namespace, output: Output) -> None:
    last: StreamResponse | None = None
    async with aclosing(events):
        async for event in events:
            last = event
            output.event(event)
    update = None if last is None else last.status_update
    if update is not None and update.status.state.interrupted:
        _resume(parsed, update.task_id)


def _resume(parsed: argparse.Namespace, task_id: str) -> None:
    note(f"answer with: greenroom send -a {parsed.agent_card} --task-id {task_id} --text '...'")


def _message(parsed: argparse.Namespace) -> Message:
    """Return the message of the command line. Raises ValueError and OSError."""
    parts: list[Part] = []
    for flag, value in parsed.parts:
        if flag == "media-type":
            if not parts:
                raise ValueError("--media-type stands behind the part that it is for")
            parts[-1] = msgspec.structs.replace(parts[-1], media_type=value)
        else:
            parts.append(_part(flag, value))
    if parsed.text is not None:
        parts.append(Part(text=parsed.text))
    if not parts:
        raise ValueError("nothing to send: write --text, --file or --data")
    metadata = None
    if parsed.metadata:
        metadata = msgspec.json.decode(parsed.metadata, type=dict[str, Any])
    return Message(
        message_id=str(uuid.uuid4()),
        role=Role.USER,
        parts=parts,
        task_id=parsed.task_id,
        context_id=parsed.context_id,
        metadata=metadata,
    )


def _part(flag: str, value: str) -> Part:
    if flag == "text":
        return Part(text=value)
    if flag == "data":
        text = sys.stdin.buffer.read() if value == "-" else Path(value).read_bytes()
        return Part(data=msgspec.json.decode(text))
    kind = mimetypes.guess_type(value)[0] or "application/octet-stream"
    if value.startswith(("http://", "https://")):
        return Part(url=value, media_type=kind)
    file = Path(value)
    return Part(raw=file.read_bytes(), filename=file.name, media_type=kind)


# --- tasks ----------------------------------------------------------------------------------------


async def _get(client: Client, parsed: argparse.Namespace, output: Output) -> None:
    if parsed.wait:
        try:
            await client.wait(parsed.id)
        except TaskEndedError as error:
            note(str(error))
    output.task(await client.get(parsed.id, history=parsed.history))


async def _cancel(client: Client, parsed: argparse.Namespace, output: Output) -> None:
    output.task(await client.cancel(parsed.id))


async def _subscribe(client: Client, parsed: argparse.Namespace, output: Output) -> None:
    await _followed(client.subscribe(parsed.id, until_over=False), parsed, output)


async def _list(client: Client, parsed: argparse.Namespace, output: Output) -> None:
    found: list[Task] = []
    async with aclosing(client.list(context_id=parsed.context_id)) as tasks:
        async for task in tasks:
            if len(found) >= parsed.limit:
                break
            found.append(task)
    if output.json:
        output.document({"tasks": found})
        return
    for task in found:
        say(f"{task.id}  {task.status.state.value}  {task.context_id or ''}")


# --- cards and tokens -----------------------------------------------------------------------------


async def _card(client: Client, parsed: argparse.Namespace, output: Output) -> None:
    card = await client.extended_card() if parsed.extended else client.card
    if output.json:
        show_json(card_json(card, "1.0").decode())
        return
    say(f"Name: {card.name}")
    say(f"Description: {card.description}")
    say(f"Version: {card.version}")
    for interface in card.supported_interfaces:
        one = interface
        say(f"Interface: {one.protocol_binding} {one.protocol_version} {one.url}")
    say(f"Streaming: {'yes' if card.capabilities.streaming else 'no'}")
    say(f"Push notifications: {'yes' if card.capabilities.push_notifications else 'no'}")
    say(f"Extended card: {'yes' if card.capabilities.extended_agent_card else 'no'}")
    for name in card.security_schemes or ():
        say(f"Security scheme: {name}")
    say(f"Signatures: {len(card.signatures or ()) or 'none'}")
    for skill in card.skills:
        say(f"Skill: {skill.id} ({skill.name})")


async def _login(parsed: argparse.Namespace) -> None:
    url = parsed.agent_card
    tls = connecting.context(parsed)
    http = HttpClient(limits=card_limits(), tls=tls)
    card = await fetch_card(http, url)
    origins = Credentials(url).origins
    keyring = Keyring((_grant(parsed),), url, origins, HttpClient(tls=tls))
    keyring.choose(card)
    request = Outgoing("GET", url, {}, b"")
    await keyring.authorize(request)
    tokens.save(url, request.headers["Authorization"].removeprefix("Bearer "))
    note(f"signed in; the token is in {tokens.path()}")


def _grant(parsed: argparse.Namespace) -> Credential:
    common: dict[str, Any] = {
        "scopes": parsed.scope,
        "token_url": parsed.token_url,
        "issuer": parsed.issuer,
    }
    client, secret = parsed.client_id, parsed.client_secret
    if parsed.flow == "client":
        return ClientCredentials(client, secret, **common)
    if parsed.flow == "browser":
        address = parsed.authorization_url
        return AuthorizationCode(client, secret, authorization_url=address, **common)
    return DeviceCode(client, secret, show=_show, device_url=parsed.device_url, **common)


def _show(prompt: DevicePrompt) -> None:
    note(f"open {prompt.url} and type {prompt.code}")
    if prompt.complete_url:
        note(f"or open {prompt.complete_url}")
