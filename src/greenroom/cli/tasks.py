"""``greenroom tasks``: look at the tasks of a store, and tell the server that serves it what to do.

Works on a store file beside the process that serves from it, or without one. What it is told to
cancel is written into the store as a command; the server carries it out, within a second or so, or
when it is started next.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec

from ..protocol.types import TaskState, TaskStatus
from ..runtime.actor.timers import CANCEL
from ..runtime.journal.entries import Header, Kind, TaskQuery, TaskRef, Timer
from ..runtime.journal.store import Store, StoreError
from .terminal import complain, say
from .timeline import short, texts, timeline, word

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PAGE = 100
_MOST = 1_000_000
"""Lines that one command shows."""

_status = msgspec.json.Decoder(TaskStatus).decode


def add(commands: Any) -> None:
    """Add the command to the command line."""
    tasks = commands.add_parser(
        "tasks",
        help="list, show, cancel, prune and back up the tasks of a store",
        description=__doc__,
    )
    tasks.set_defaults(run=run)
    actions = tasks.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="the newest tasks, one a line")
    shown = actions.add_parser("show", help="a task's journal as a timeline")
    canceled = actions.add_parser("cancel", help="have the server cancel a task")
    pruned = actions.add_parser("prune", help="delete finished tasks and all that is theirs")
    saved = actions.add_parser("backup", help="copy the store to a new file while it is served")
    for action in (listed, shown, canceled, pruned, saved):
        action.add_argument("store", help="sqlite:///path, or the path of the file")
    for action in (shown, canceled):
        action.add_argument("id", help="of the task; its beginning is enough")
    saved.add_argument("file", type=Path, help="the new file")
    listed.add_argument("--agent", help="slug of the agent")
    listed.add_argument("--context", metavar="ID", help="of one context")
    listed.add_argument(
        "--state", choices=sorted(s.name.lower().replace("_", "-") for s in _STATES)
    )
    listed.add_argument("--limit", type=count, default=50, metavar="N", help="default: 50")
    pruned.add_argument(
        "--older",
        type=age,
        required=True,
        metavar="TIME",
        help="finished longer ago than 30d, 12h, 30m, 0s",
    )


def count(text: str) -> int:
    """How many lines to show, from the command line."""
    # Python refuses to read thousands of digits, and SQLite what has more than 64 bits.
    number = int(text) if text.isdecimal() and len(text) <= len(str(_MOST)) else 0
    if not 1 <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 to {_MOST}")
    return number


def age(text: str) -> float:
    """A time of the command line, in seconds."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is no time: write 30d, 12h, 30m or 0s")
    return float(int(match[1]) * _UNITS[match[2]])


_STATES = [state for state in TaskState if state is not TaskState.UNSPECIFIED]


def run(parsed: argparse.Namespace) -> int:
    """Carry the command out; return the exit code: 2 if it was asked wrongly or the store fails."""
    action: Callable[[Store, argparse.Namespace], Coroutine[Any, Any, int]] | None = {
        "list": _list, "show": _show, "cancel": _cancel, "prune": _prune,
    }.get(parsed.action)  # fmt: skip

    if action is None:
        return complaining(lambda: _backup(parsed))
    return on_store(parsed, action)


def on_store(
    parsed: argparse.Namespace,
    action: Callable[[Store, argparse.Namespace], Coroutine[Any, Any, int]],
) -> int:
    """Carry out ``action`` on the file of ``parsed.store``, beside whoever serves from it."""

    async def main() -> int:
        from ..stores.sqlite import SQLiteStore

        reads = parsed.action in ("list", "show", "attempts")
        store = SQLiteStore(_path(parsed.store), exclusive=False, read_only=reads)
        await store.open(now=time.time())
        try:
            return await action(store, parsed)
        finally:
            await store.close()

    return complaining(main)


def complaining(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run ``main``; what it cannot do is told, and gives 2."""
    try:
        return anyio.run(main)
    except (ValueError, StoreError) as error:
        return complain(str(error))


async def _backup(parsed: argparse.Namespace) -> int:
    from ..stores.sqlite.backup import backup

    size = await backup(Path(_path(parsed.store)), parsed.file)
    say(f"{parsed.file}: {size:,} bytes")
    return 0


def _path(store: str) -> str:
    """The file of a store that was named as for ``serve``, or by its path. Raises ValueError."""
    if "://" not in store:
        return store
    from ..app import open_store

    path: str | None = getattr(open_store(store), "path", None)
    if path is None:
        raise ValueError(
            f"{store!r} is no store that lasts: write sqlite:///path or the file's path"
        )
    return path


# --- list ---------------------------------------------------------------------------------------


async def _list(store: Store, parsed: argparse.Namespace) -> int:
    wanted = parsed.state and parsed.state.upper().replace("-", "_")
    headers: list[Header] = []
    for scope in await store.scopes():
        if parsed.agent in (None, scope.agent):
            query = TaskQuery(
                scope=scope,
                limit=parsed.limit,
                context_id=parsed.context,
                state=TaskState[wanted] if wanted else None,
            )
            headers.extend((await store.tasks(query)).headers)
    headers.sort(key=lambda header: header.updated_at, reverse=True)
    for header in headers[: parsed.limit]:
        say(task_line(header))
    if not headers:
        say("no tasks")
    return 0


def _standing(header: Header) -> str:
    return "blocked" if header.blocked else word(header.state)


def task_line(header: Header) -> str:
    scope = header.scope
    owner = f"{scope.tenant}/{scope.owner}" if scope.tenant else scope.owner
    return (
        f"{header.id}  {_standing(header):<14}  {moment(header.updated_at)}  {scope.agent}  {owner}"
    )


# --- show ---------------------------------------------------------------------------------------


async def _show(store: Store, parsed: argparse.Namespace) -> int:
    header = await _find(store, parsed.id)
    say(task_line(header))
    say(f"context {header.context_id}, created {moment(header.created_at)}")
    say(
        f"generation {header.generation}, run {header.run} of handler {header.handler}, "
        + (f"attempt {header.attempts} to come further, " if header.attempts > 1 else "")
        + (f"at work on node {header.node}" if header.node else "at work nowhere")
    )
    if header.blocked:
        say(f"blocked: {header.why_blocked}")
    if header.floor:
        say(f"events up to generation {header.floor} were pruned")
    status = _status(header.status)
    if status.message is not None:
        say(f"says: {short(texts(status.message.parts))}")
    say()
    run = 0
    entries = await store.journal(header.scope, header.id)
    for entry in entries:
        if entry.run != run:
            run = entry.run
            say(f"run {run}")
        say(timeline(entry))
    say()
    kinds = Counter(entry.kind for entry in entries)
    counts = (some(kinds[kind], kind.name.lower()) for kind in Kind)
    say(f"{some(header.run, 'run')}, {', '.join(counts)}: {_standing(header)}")
    return 0


def some(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


# --- cancel, prune ------------------------------------------------------------------------------


async def _cancel(store: Store, parsed: argparse.Namespace) -> int:
    header = await _find(store, parsed.id)
    if not await store.remind(TaskRef(header.scope, header.id), Timer(CANCEL, time.time())):
        raise ValueError(f"task {header.id} is {word(header.state)} already")
    say(f"task {header.id} will be canceled by the server, within a second or when it starts")
    return 0


async def _prune(store: Store, parsed: argparse.Namespace) -> int:
    before = time.time() - parsed.older
    total = 0
    while True:
        pruned = await store.prune(tasks_before=before, sends_before=float("-inf"), limit=_PAGE)
        total += pruned.tasks
        if pruned.tasks < _PAGE:
            break
    say(f"{some(total, 'task')} deleted")
    return 0


async def _find(store: Store, beginning: str) -> Header:
    """The one task whose id begins so. Raises ``ValueError``."""
    if not beginning:
        raise ValueError("every task begins with '': write an id, or its beginning")
    headers = await store.find(beginning, limit=_PAGE)
    if not headers:
        raise ValueError(f"there is no task {beginning} in this store")
    if len(headers) > 1 and headers[0].id != beginning:
        many = f"{_PAGE} or more" if len(headers) == _PAGE else len(headers)
        raise ValueError(f"{many} tasks begin with {beginning!r}: write more of the id")
    return headers[0]
