"""Extended cards (sections 3.1.11 and 13.3): the runtime makes one for each request."""

from __future__ import annotations

import inspect
from typing import Protocol

from msgspec import structs

from ...protocol.cards.signing import sign
from ...protocol.errors import (
    ExtendedAgentCardNotConfiguredError,
)
from ...protocol.types import AgentCard, AgentInterface, GetExtendedAgentCardRequest
from ..agent import Agent
from ..call import Call, TaskScope
from ..security.gate import Gate


class CardMaker(Protocol):
    def __call__(
        self, slug: str, interfaces: tuple[AgentInterface, ...], *, extended: bool
    ) -> AgentCard: ...


class ExtendedCards:
    """The door of GetExtendedAgentCard."""

    def __init__(self, gate: Gate, make: CardMaker) -> None:
        self._gate = gate
        self._make = make

    async def get(
        self, call: Call, agent: Agent, scope: TaskScope, request: GetExtendedAgentCardRequest
    ) -> AgentCard:
        """Return the card with the skills that the caller may use, as the agent's own function
        left it, signed if cards are."""
        principal = call.principal
        assert principal is not None
        change = agent.extension
        if change is None:
            raise ExtendedAgentCardNotConfiguredError
        card = self._make(agent.slug, call.interfaces, extended=True)
        permitted = [
            skill for skill in card.skills if self._gate.card.permits(agent, skill.id, principal)
        ]
        known = [skill for skill in card.skills if skill in permitted or not agent.hides(skill.id)]
        card = self._gate.card.with_flows(structs.replace(card, skills=known))
        changed = change(structs.replace(card, skills=permitted), principal)
        if inspect.isawaitable(changed):
            changed = await changed
        assert isinstance(changed, AgentCard)
        changed = agent.completed(changed)
        keys = self._gate.security.signing
        return sign(changed, keys) if keys and call.interfaces else changed
