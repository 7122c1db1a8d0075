"""Tasks whose owner is gone: each is resolved by its agent's policy, never left as working."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from ...protocol.types import TaskState
from ..journal.entries import Entry, Kind, Loaded
from ..journal.records import RecordKind, call_record, decode, is_kind, value_of
from ..journal.run_start import durable, open_ask, start_of
from .actor import Actor
from .cancellation import STATUS_TEXT, Reason
from .replies import say

log = logging.getLogger("greenroom.recovery")


def recover(actor: Actor, loaded: Loaded) -> None:
    """Decide what becomes of a woken task that nobody runs though it does not only wait.

    By default a run with a step, a question, a stream or a sleep, or one that ``ctx.restart``
    began, is resumed, and another fails: a plain handler's payment must not silently run twice.
    ``on_interrupt`` of the agent decides otherwise.
    """
    blocked = bool(actor.blocked)
    if blocked:
        if actor.blocked.startswith(f"{actor.agent.version}\n{actor.system.node}\n"):
            return  # the same handler would only stumble again
        actor.blocked = ""
    if (reason := _cancelled(loaded.entries)) is not None:
        # Its clean-up had the grace that the other process lived for.
        actor.set_status(TaskState.CANCELED, say(actor, STATUS_TEXT[reason]))
        return
    policy = "resume"
    if loaded.header.node:
        # Nobody put it to rest: it was interrupted.
        policy = actor.agent.on_interrupt or ("resume" if durable(loaded.entries) else "fail")
        if policy == "fail":
            here = loaded.header.node in (actor.system.node, *actor.system.former_nodes)
            by = "a failure of its store" if here else "a restart of its server"
            why = f"The agent was interrupted by {by}."
            if actor.agent.on_interrupt is None:
                why += (
                    " Its handler had recorded nothing, and running it again could repeat its "
                    'effects; Agent(..., on_interrupt="resume") runs it again.'
                )
            _fail(actor, why)
            return
        if actor.attempts >= actor.system.settings.attempts:
            _fail(
                actor,
                f"The agent was started {actor.attempts} times and its server died each time.",
            )
            return
        actor.attempts += 1
    actor.entries = loaded.entries
    actor.open_ask = open_ask(loaded.entries)
    if policy == "rerun":
        began = start_of(loaded.entries, afresh=True)
        actor.inbox.extend(began.unread)
        sender = began.sender()
        actor.begin_run(began.message, "rerun")
        actor.record_call(sender)
        actor.open_ask = None
        actor.entries = [
            Entry(0, Kind.MESSAGE, msgspec.json.encode(began.message)),
            Entry(0, Kind.RECORD, call_record(sender)),
        ]
    if loaded.header.node:
        again = f", attempt {actor.attempts} to come further" if actor.attempts > 1 else ""
        log.info("task %s is taken up again (%s%s)", actor.id, policy, again)
    if actor.state is TaskState.SUBMITTED or blocked:
        actor.set_status(TaskState.WORKING)  # what it said of the block is so no more
    actor.touch()  # who else looks must find the task taken
    actor.resume()


def _cancelled(entries: Sequence[Entry]) -> Reason | None:
    """Return why the run was cancelled; ``None`` if it was not."""
    for entry in reversed(entries):
        if is_kind(entry, RecordKind.CANCEL):
            return Reason(value_of(decode(entry.body)))
    return None


def _fail(actor: Actor, why: str) -> None:
    log.warning("task %s fails: %s", actor.id, why)
    actor.set_status(TaskState.FAILED, say(actor, why))
