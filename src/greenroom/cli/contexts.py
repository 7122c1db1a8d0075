"""``greenroom contexts``: look at the contexts of a store, keep them, delete them.

Works on a store file beside the process that serves from it, or without one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine
from typing import Any

from ..runtime.call import TaskScope
from ..runtime.journal.entries import Context, TaskQuery
from ..runtime.journal.store import Store
from .tasks import count, moment, on_store, some, task_line
from .terminal import say


def add(commands: Any) -> None:
    """Add the command to the command line."""
    contexts = commands.add_parser(
        "contexts",
        help="list, show, pin and delete the contexts of a store",
        description=__doc__,
    )
    contexts.set_defaults(run=run)
    actions = contexts.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="those active last, one a line")
    shown = actions.add_parser("show", help="a context and its newest tasks")
    pinned = actions.add_parser("pin", help="keep a context and its tasks, whatever their age")
    unpinned = actions.add_parser("unpin", help="let a context expire as others do")
    deleted = actions.add_parser("delete", help="delete a context with all its tasks")
    for action in (listed, shown, pinned, unpinned, deleted):
        action.add_argument("store", help="sqlite:///path, or the path of the file")
    for action in (shown, pinned, unpinned, deleted):
        action.add_argument("id", help="of the context")
    for action in (listed, shown, pinned, unpinned, deleted):
        action.add_argument("--agent", help="slug of the agent")
        action.add_argument("--tenant", help="of the owner")
        action.add_argument("--owner", help="whose it is")
    for action in (listed, shown):
        action.add_argument("--limit", type=count, default=50, metavar="N", help="default: 50")


def run(parsed: argparse.Namespace) -> int:
    """Carry the command out; return the exit code: 2 if it was asked wrongly or the store fails."""
    actions: dict[str, Callable[[Store, argparse.Namespace], Coroutine[Any, Any, int]]] = {
        "list": _list, "show": _show, "pin": _pin, "unpin": _unpin, "delete": _delete,
    }  # fmt: skip
    return on_store(parsed, actions[parsed.action])


async def _scopes(store: Store, parsed: argparse.Namespace) -> list[TaskScope]:
    asked = (parsed.tenant, parsed.agent, parsed.owner)
    return [
        scope
        for scope in await store.scopes()
        if all(part in (None, own) for part, own in zip(asked, scope, strict=True))
    ]


async def _find(store: Store, parsed: argparse.Namespace) -> tuple[TaskScope, Context]:
    """The one context of that id. Raises ``ValueError``."""
    matches = [
        (scope, context)
        for scope in await _scopes(store, parsed)
        if (context := await store.context(scope, parsed.id)) is not None
    ]
    if not matches:
        raise ValueError(f"there is no context {parsed.id} in this store")
    if len(matches) > 1:
        raise ValueError(
            f"{len(matches)} owners have a context {parsed.id}: say whose with --agent, --tenant "
            "and --owner"
        )
    return matches[0]


def _line(scope: TaskScope, context: Context) -> str:
    owner = f"{scope.tenant}/{scope.owner}" if scope.tenant else scope.owner
    marks = f"{some(context.tasks, 'task')}, {context.live} live"
    marks += ", pinned" if context.pinned else ""
    return f"{context.id}  {moment(context.active_at)}  {marks}  {scope.agent}  {owner}"


async def _list(store: Store, parsed: argparse.Namespace) -> int:
    contexts = [
        (scope, context)
        for scope in await _scopes(store, parsed)
        for context in await store.contexts(scope, limit=parsed.limit)
    ]
    contexts.sort(key=lambda item: item[1].active_at, reverse=True)
    for scope, context in contexts[: parsed.limit]:
        say(_line(scope, context))
    if not contexts:
        say("no contexts")
    return 0


async def _show(store: Store, parsed: argparse.Namespace) -> int:
    scope, context = await _find(store, parsed)
    say(_line(scope, context))
    say(f"created {moment(context.created_at)}")
    say()
    page = await store.tasks(TaskQuery(scope, parsed.limit, context.id))
    for header in page.headers:
        say(task_line(header))
    return 0


async def _pin(store: Store, parsed: argparse.Namespace) -> int:
    scope, context = await _find(store, parsed)
    await store.mark_context(scope, context.id, pinned=True)
    say(f"context {context.id} is pinned: it stays with all its tasks")
    return 0


async def _unpin(store: Store, parsed: argparse.Namespace) -> int:
    scope, context = await _find(store, parsed)
    await store.mark_context(scope, context.id, pinned=False)
    say(f"context {context.id} is no longer pinned")
    return 0


async def _delete(store: Store, parsed: argparse.Namespace) -> int:
    scope, context = await _find(store, parsed)
    deleted = await store.delete_context(scope, context.id)
    if deleted is not None and deleted.live:
        raise ValueError(
            f"{deleted.live} of its {deleted.tasks} tasks {'is' if deleted.live == 1 else 'are'} "
            "not over: cancel first (greenroom tasks cancel)"
        )
    say(f"{some(context.tasks if deleted is None else deleted.tasks, 'task')} deleted")
    return 0
