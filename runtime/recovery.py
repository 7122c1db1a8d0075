"""Tasks whose owner is gone: each is resolved by its agent's policy, never left as working."""

from __future__ import annotations

import logging

from ..protocol.types import Message, Part, Role, TaskState
from .actor import Actor
from .ledger import durable
from .ports import Kind, Loaded

log = logging.getLogger("greenroom.recovery")


def recover(actor: Actor, loaded: Loaded) -> None:
    """Decide what becomes of a woken task that nobody runs (it is submitted or working).

    By default a run with a step, an ask or a stream is resumed, and another fails: a plain
    handler's payment must not silently run twice. ``on_interrupt`` of the agent decides otherwise.
    """
    policy = actor.agent.on_interrupt or ("resume" if durable(loaded.entries) else "fail")
    if actor.attempts >= actor.system.settings.attempts:
        _fail(actor, f"The agent was started {actor.attempts} times and never got to an end.")
        return
    if policy == "fail" or not any(e.kind is Kind.MESSAGE for e in loaded.entries):
        _fail(actor, "The agent was interrupted by a restart of its server.")
        return
    actor.attempts += 1
    if policy == "rerun":
        actor.entries = [entry for entry in loaded.entries if entry.kind is Kind.MESSAGE]
        actor.run += 1
    else:
        actor.entries = loaded.entries
    log.info("task %s is taken up again (%s, attempt %d)", actor.id, policy, actor.attempts)
    if actor.state is TaskState.SUBMITTED:
        actor.set_status(TaskState.WORKING)
    actor.resume()


def _fail(actor: Actor, why: str) -> None:
    log.warning("task %s fails: %s", actor.id, why)
    actor.set_status(
        TaskState.FAILED,
        Message(
            message_id=actor.system.new_id(),
            role=Role.AGENT,
            parts=[Part(text=why)],
            context_id=actor.context_id,
            task_id=actor.id,
        ),
    )
