"""From the address of an agent to a connection: its card, and the interface to talk to."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from .auth.credential import Credential
from .auth.keyring import Keyring
from .auth.mutual import MutualTls
from .credentials import Credentials
from .discovery import GRPC, card_limits, choose, fetch_card
from .errors import PeerError
from .http import HttpClient, Limits
from .peer import Peer
from .remote import Remote
from .trust import Trust
from .urls import redacted


class Connecting(Struct, frozen=True, kw_only=True):
    """What a user says of an agent and of the way to it."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    auth: Sequence[Credential] | Mapping[str, Credential] = ()
    """Credentials; a mapping names them by the schemes of the card."""
    origins: tuple[str, ...] = ()
    """URLs of other servers that get the credentials too."""
    version: str | None = None
    bindings: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    limits: Limits | None = None
    tls: ssl.SSLContext | None = None
    """Replaces the default context; a certificate in ``auth`` replaces it at ``origins``."""
    trust: Trust | None = None

    def __repr__(self) -> str:
        return f"<Connecting to {redacted(self.url)}>"  # headers may hold credentials


async def connect(asked: Connecting) -> Remote:
    """Fetch the card, choose an interface, and return what talks to it; nothing is open yet.

    Raises PeerError and HttpError.
    """
    if not asked.url.lower().startswith(("http://", "https://")):
        raise PeerError(f"{redacted(asked.url)!r} is not an http:// or https:// address")
    credentials = Credentials(asked.url, asked.headers, asked.origins)
    certified = _certificate(asked)
    http = HttpClient(limits=card_limits(asked.limits), tls=certified)
    # Token endpoints are other servers than the agent: they see no certificate of the agent's.
    tokens = HttpClient(tls=asked.tls)
    keyring = Keyring(asked.auth, asked.url, credentials.origins, tokens) if asked.auth else None
    unsigned = asked.trust is None
    card = await fetch_card(
        http,
        asked.url,
        credentials if unsigned else None,
        asked.trust,
        certified,
        keyring if unsigned else None,
    )
    secure = asked.url.lower().startswith("https://")
    interface = choose(card, asked.version, asked.bindings, secure=secure)
    ours = keyring is not None and keyring.trusts(interface.url)
    if keyring is not None:
        keyring.choose(card)
    if interface.protocol_binding == GRPC:
        from .grpc.peer import GrpcPeer

        return GrpcPeer(
            card,
            interface,
            metadata=credentials.headers_for(interface.url),
            limits=asked.limits,
            tls=certified if ours else asked.tls,
            auth=keyring if ours else None,
            extensions=asked.extensions,
        )
    return Peer(
        card,
        interface,
        credentials=credentials,
        limits=asked.limits,
        tls=certified if ours else asked.tls,
        auth=keyring if ours else None,
        extensions=asked.extensions,
    )


def _certificate(asked: Connecting) -> ssl.SSLContext | None:
    """Return the TLS context for the agent's own origins."""
    given = asked.auth.values() if isinstance(asked.auth, Mapping) else asked.auth
    for credential in given:
        if isinstance(credential, MutualTls):
            return credential.context
    return asked.tls
