"""Where gRPC is served, as cards tell it; and the card itself as a message of 0.3."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from ...protocol.cards import card_json
from ...protocol.types import AgentCard, AgentInterface
from ...protocol.version import V03, V10
from ._pb.a2a.v1 import AgentCard as LegacyCard

BINDING = "GRPC"
Make = Callable[[str, list[AgentInterface]], AgentCard]


class Cards:
    """``address`` is ``host:port`` as clients reach it; ``ports`` those of single agents."""

    def __init__(self, make: Make, address: str, default: str, ports: Mapping[str, int]) -> None:
        self._make = make
        self._address = address
        self._default = default
        self._ports = ports

    def interfaces(self, agent: str, address: str = "") -> list[AgentInterface]:
        """Return the gRPC entries of an agent's card.

        On the port of all agents the tenant names the agent; 0.3 has no tenant, so there an agent
        that is not the default needs a port of its own.
        """
        address = address or self._address
        tenant: str | None = None
        if agent in self._ports:
            host = address.rpartition(":")[0]
            address = f"{host}:{self._ports[agent]}"
        elif agent and agent != self._default:
            tenant = agent
        found = [
            AgentInterface(
                url=address, protocol_binding=BINDING, protocol_version=V10, tenant=tenant
            )
        ]
        if tenant is None:
            found.append(
                AgentInterface(url=address, protocol_binding=BINDING, protocol_version=V03)
            )
        return found

    def public(self, agent: str) -> AgentCard:
        """Return the card of an agent for whoever knows only its gRPC address."""
        return self._make(agent, self.interfaces(agent))

    @staticmethod
    def legacy_message(card: AgentCard) -> bytes:
        """Return ``a2a.v1.AgentCard``: rare, so by way of the proto form of 0.3's JSON."""
        form = msgspec.json.decode(card_json(card, "0.3+proto"))
        return bytes(LegacyCard.from_dict(form, ignore_unknown_fields=True))
