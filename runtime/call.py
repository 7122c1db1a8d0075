"""Who calls, and how: what a transport hands in beside the operation itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from ..protocol.types import AgentInterface, SecurityRequirement


class TaskScope(NamedTuple):
    """What owns a task. Every read and write of the store names it (the store adds its deployment).

    ``tenant`` comes from the principal, never from the wire; ``agent`` is the slug of the agent;
    ``owner`` identifies the caller inside the tenant.
    """

    tenant: str
    agent: str
    owner: str


class Principal(Struct, frozen=True):
    """An authenticated caller. ``owner`` is stable for one (issuer, subject)."""

    owner: str
    tenant: str = ""
    scheme: str = ""
    """Name of the security scheme on the card."""
    issuer: str = ""
    subject: str = ""
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = {}
    expires: float | None = None
    """When the credential ends (epoch); ``None``: nobody said."""
    proven: Mapping[str, frozenset[str]] = {}
    """Every scheme that held, by name, with the scopes of its own credential; without an entry it
    is ``scheme`` alone."""
    anonymous: bool = False

    def meets(self, requirement: SecurityRequirement) -> bool:
        """Whether each scheme of a requirement held, with the scopes that are asked of it."""
        proven = self.proven or {self.scheme: self.scopes}
        return all(
            name in proven and proven[name].issuperset(scopes.list)
            for name, scopes in requirement.schemes.items()
        )


ANONYMOUS = Principal(owner="anonymous", anonymous=True)
"""The one owner of everything while no authentication is configured."""


class Sender(Struct, frozen=True):
    """What a handler may know of who sent its message."""

    principal: Principal | None = None
    activated: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    skill: str | None = None
    """Of the task that the message continues, for a message that names none."""


class Call(Struct, kw_only=True):
    """One request as its transport saw it. A call has one owner at each moment.

    The transport makes the call and owns it until it hands the call to ``Runtime.dispatch``: by
    then ``version``, ``tenant``, ``agent`` and ``interfaces`` say what the message said. From then
    on the runtime owns the call and sets ``principal``, ``refused`` and ``activated``; the
    transport only reads it. In between, ``Gate.admit`` sets ``principal`` for a transport that
    admits the caller before it reads the message.
    """

    binding: str
    """JSONRPC, HTTP+JSON or GRPC; for logs and spans."""
    version: str = "1.0"
    """The protocol version negotiated: 0.3, 1.0 or 1.1."""
    agent: str = ""
    """Slug of the agent addressed; empty is the first one."""
    tenant: str | None = None
    """As written on the wire (path or body). It routes; it never owns."""
    extensions: tuple[str, ...] = ()
    """URIs of the extensions the caller asked for."""
    activated: tuple[str, ...] = ()
    """Set by the runtime: what the answer says was activated."""
    headers: Mapping[str, str] = {}
    """Header fields or gRPC metadata, names in lower case, for authentication."""
    query: Mapping[str, str] = {}
    """Query parameters, for API keys that travel there."""
    repeated: frozenset[str] = frozenset()
    """Names of query parameters that are there more than once; ``query`` has the last of each."""
    peer: str = ""
    """Address of the peer, after trusted proxies."""
    certificate: bytes | None = None
    """The peer's certificate (DER) where mutual TLS was used."""
    forwarded_certificate: str | None = None
    """``x-forwarded-client-cert``, set only for requests from a configured proxy: empty where it
    says nothing of a certificate."""
    interfaces: tuple[AgentInterface, ...] = ()
    """Where the agent is served, for the extended card; set for that operation only."""
    traceparent: str | None = None
    tracestate: str | None = None
    last_event_id: int | None = None
    """The generation a stream is resumed from (SSE ``Last-Event-ID``)."""
    refused: tuple[str, ...] = ()
    """Set by the authenticator: why credentials were refused beside others that may hold."""
    principal: Principal | None = None
    """Set by the gate."""
