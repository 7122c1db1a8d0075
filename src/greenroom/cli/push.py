"""``greenroom push``: look at the webhooks of a store, redeliver, enable, disable and delete them.

Works on a store file beside the process that serves from it, or without one. The server notices
within a second or so, or when it is started next. Of an address only its host is shown.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from msgspec import structs

from ..keyring import new_key, vault_of
from ..runtime.journal.entries import OpenPush
from ..runtime.journal.store import Store
from ..runtime.push.ports import SealError
from ..runtime.push.records import Health, State, bound_to, encode, health_of
from ..settings.settings import load
from .tasks import count, moment, on_store
from .terminal import complain, say

_PAGE = 500


def add(commands: Any) -> None:
    """Add the command to the command line."""
    push = commands.add_parser(
        "push", help="look at the webhooks of a store, and mend them", description=__doc__
    )
    push.set_defaults(run=run)
    actions = push.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = actions.add_parser("key", help="make a key for push.keys")
    made.add_argument("name", nargs="?", default="k1", help="of the key (default: k1)")
    texts = {
        "list": "push configurations, one a line",
        "show": "one push configuration",
        "attempts": "the newest attempts of a push configuration",
        "redeliver": "deliver again, from a dead letter on or from --generation",
        "enable": "try a disabled configuration again",
        "disable": "deliver nothing more to a configuration",
        "delete": "delete a configuration",
        "rekey": "encrypt all configurations anew with the first key of push.keys",
    }
    for name, text in texts.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("store", help="sqlite:///path, or the path of the file")
        if name == "list":
            action.add_argument("--state", choices=[state.value for state in State])
            action.add_argument("--limit", type=count, default=50, metavar="N", help="default: 50")
        elif name == "rekey":
            action.add_argument("--config", metavar="FILE", help="TOML file with push.keys")
        else:
            action.add_argument("task", help="id of the task")
            action.add_argument("id", help="of the push configuration")
        if name == "redeliver":
            action.add_argument(
                "--generation", type=count, metavar="N", help="the first event to deliver again"
            )


def run(parsed: argparse.Namespace) -> int:
    """Carry the command out; return the exit code: 2 if it was asked wrongly or the store fails."""
    if parsed.action == "key":
        say(new_key(parsed.name))
        return 0
    actions: dict[str, Callable[[Store, argparse.Namespace], Coroutine[Any, Any, int]]] = {
        "list": _list, "show": _show, "attempts": _attempts, "redeliver": _redeliver,
        "enable": _enable, "disable": _disable, "delete": _delete, "rekey": _rekey,
    }  # fmt: skip
    try:
        return on_store(parsed, actions[parsed.action])
    except SealError as error:
        return complain(str(error))


async def _all(store: Store) -> AsyncIterator[OpenPush]:
    after = 0
    while page := await store.all_pushes(limit=_PAGE, after=after):
        for found in page:
            yield found
        after = page[-1].number


async def _find(store: Store, parsed: argparse.Namespace) -> OpenPush:
    """The configuration that is named. Raises ValueError."""
    async for found in _all(store):
        if (found.row.task_id, found.row.id) == (parsed.task, parsed.id):
            return found
    raise ValueError(f"task {parsed.task} has no push configuration {parsed.id} in this store")


def _line(found: OpenPush, health: Health) -> str:
    row = found.row
    behind = max(0, found.generation - row.generation)
    why = f" ({health.why})" if health.why else ""
    return (
        f"{row.task_id}  {row.id}  {health.state}{why}  {behind} behind  "
        f"{health.delivered} delivered  {health.origin}"
    )


async def _list(store: Store, parsed: argparse.Namespace) -> int:
    shown = 0
    async for found in _all(store):
        health = health_of(found.row)
        if parsed.state not in (None, health.state.value):
            continue
        say(_line(found, health))
        shown += 1
        if shown == parsed.limit:
            break
    if not shown:
        say("no push configurations")
    return 0


async def _show(store: Store, parsed: argparse.Namespace) -> int:
    found = await _find(store, parsed)
    row, health = found.row, health_of(found.row)
    say(_line(found, health))
    scope = row.scope
    owner = f"{scope.tenant}/{scope.owner}" if scope.tenant else scope.owner
    say(f"agent {scope.agent}, owner {owner}, created {moment(row.created_at)}")
    say(f"generation {row.generation} of {found.generation}")
    if health.failing_since:
        say(f"failing since {moment(health.failing_since)}, {health.attempts} attempts")
    if row.open and row.due_at is not None:
        say(f"next attempt {moment(row.due_at)}")
    if health.delivered_at:
        say(f"last delivered {moment(health.delivered_at)}")
    for letter in health.dead:
        say(f"dead letter: generation {letter.generation}, {moment(letter.at)}, {letter.why}")
    return 0


async def _attempts(store: Store, parsed: argparse.Namespace) -> int:
    found = await _find(store, parsed)
    for one in health_of(found.row).log:
        say(f"{moment(one.at)}  generation {one.generation}  attempt {one.number}  {one.outcome}")
    return 0


async def _save(store: Store, found: OpenPush, health: Health, **changes: Any) -> None:
    """Change a row. Raises ValueError if the server changed it meanwhile."""
    row = structs.replace(found.row, health=encode(health), **changes)
    [saved] = await store.save_pushes([row])
    if not saved:
        raise ValueError("the server changed the configuration meanwhile: try again")


def _anew(health: Health) -> Health:
    """Forget what failed."""
    return structs.replace(
        health, state=State.ACTIVE, why="", attempts=0, refusals=0, failing_since=0.0
    )


async def _redeliver(store: Store, parsed: argparse.Namespace) -> int:
    found = await _find(store, parsed)
    health = health_of(found.row)
    first = parsed.generation
    if first is None:
        if not health.dead:
            raise ValueError("there is no dead letter: say from where with --generation")
        first = health.dead[0].generation
    if not 2 <= first <= found.generation:
        raise ValueError(f"the task has the generations 2 to {found.generation}, not {first}")
    health = structs.replace(_anew(health), dead=(), planned=0)
    await _save(store, found, health, generation=first - 1, due_at=time.time(), open=True)
    say(f"delivers again from generation {first} on, under the same ids")
    return 0


async def _enable(store: Store, parsed: argparse.Namespace) -> int:
    found = await _find(store, parsed)
    await _save(store, found, _anew(health_of(found.row)), due_at=time.time(), open=True)
    say(f"{found.row.id} is enabled: what it did not get is delivered")
    return 0


async def _disable(store: Store, parsed: argparse.Namespace) -> int:
    found = await _find(store, parsed)
    health = structs.replace(health_of(found.row), state=State.DISABLED, why="by an operator")
    await _save(store, found, health, due_at=None, open=False)
    say(f"{found.row.id} is disabled")
    return 0


async def _delete(store: Store, parsed: argparse.Namespace) -> int:
    found = await _find(store, parsed)
    await store.delete_push(found.row.scope, found.row.task_id, found.row.id)
    say(f"{found.row.id} is deleted")
    return 0


async def _rekey(store: Store, parsed: argparse.Namespace) -> int:
    keys = load(config=parsed.config, environ=os.environ).push.keys
    if not keys:
        raise ValueError("push.keys names no key: write them in --config or in GREENROOM_PUSH_KEYS")
    vault = vault_of(keys)
    done = 0
    async for found in _all(store):
        row = found.row
        sealed = vault.seal(vault.unseal(row.config, bound_to(row)), bound_to(row))
        [saved] = await store.save_pushes([structs.replace(row, config=sealed)])
        if not saved:
            raise ValueError(
                f"the server changed configuration {row.id} meanwhile: run the command again"
            )
        done += 1
    say(f"{done} push configurations are encrypted with the key {keys[0].partition('=')[0]}")
    return 0
