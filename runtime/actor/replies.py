"""What an agent says: any content as a message of the agent."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ...protocol.types import Message, Role
from .. import content as parts
from .system import System


class Speaker(Protocol):
    """The task in whose name something is said."""

    id: str
    context_id: str
    system: System
    born: bool


def say(actor: Speaker, content: Any) -> Message | None:
    """Make a message of the agent out of text, parts or data; nothing of nothing."""
    if content is None or content == "":
        return None
    if isinstance(content, Message):
        return agent_message(actor, content)
    return Message(
        message_id=actor.system.new_id(),
        role=Role.AGENT,
        parts=parts.parts_of(content),
        context_id=actor.context_id,
        task_id=actor.id,
    )


def agent_message(actor: Speaker, message: Message) -> Message:
    """Complete a message that a handler made. Raises TypeError for one that is none."""
    if not message.parts:
        raise TypeError("a Message has at least one part, as in parts=[Part(text=...)]")
    parts.parts_of(message.parts)
    changes: dict[str, Any] = {}
    if not message.message_id:
        changes["message_id"] = actor.system.new_id()
    if message.context_id != actor.context_id:
        changes["context_id"] = actor.context_id
    if actor.born and message.task_id != actor.id:
        changes["task_id"] = actor.id
    if message.role is not Role.AGENT:
        changes["role"] = Role.AGENT
    return msgspec.structs.replace(message, **changes) if changes else message
