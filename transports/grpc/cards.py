"""The gRPC entries of agent cards, and the card itself as a message of 0.3."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ...protocol.cards.shapes import card_json
from ...protocol.types import AgentCard, AgentInterface
from ...protocol.version import V03, V10
from ...runtime.runtime import Runtime
from ._pb.a2a.v1 import AgentCard as LegacyCard

BINDING = "GRPC"


class Cards:
    """``address`` is ``host:port`` as configured; without it cards have the host of the request.

    ``ports`` are those of single agents, by slug.
    """

    def __init__(
        self, runtime: Runtime, address: str | None, port: int, ports: Mapping[str, int]
    ) -> None:
        self._runtime = runtime
        self._address = address
        self._port = port
        self._ports = ports

    def interfaces(self, agent: str, host: str) -> list[AgentInterface]:
        """Return the gRPC entries of an agent's card; ``host`` is where the client reached us.

        On the port of all agents the tenant names the agent; 0.3 has no tenant, so there an agent
        that is not the default needs a port of its own.
        """
        host, port = f"[{host}]" if ":" in host else host, self._port
        if self._address is not None:
            host, _, given = self._address.rpartition(":")
            port = int(given)
        tenant: str | None = None
        if agent in self._ports:
            port = self._ports[agent]
        elif agent and agent != self._runtime.default.slug:
            tenant = agent
        url = f"{host}:{port}"
        entries = [
            AgentInterface(url=url, protocol_binding=BINDING, protocol_version=V10, tenant=tenant)
        ]
        if tenant is None:
            entries.append(AgentInterface(url=url, protocol_binding=BINDING, protocol_version=V03))
        return entries

    def public(self, agent: str, host: str) -> AgentCard:
        """Return the card of an agent for whoever knows only its gRPC address."""
        return self._runtime.card(agent, self.interfaces(agent, host))


def legacy_message(card: AgentCard) -> bytes:
    """Return ``a2a.v1.AgentCard``: rare, so by way of the proto form of 0.3's JSON."""
    form = msgspec.json.decode(card_json(card, "0.3+proto"))
    return bytes(LegacyCard.from_dict(form, ignore_unknown_fields=True))
