"""Finding an agent: where its card may be, whose card was found, and which interface to talk to."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit, urlunsplit

from msgspec import structs

from ...protocol.cards.shapes import is_legacy, parse_card
from ...protocol.cards.signing import SignatureError
from ...protocol.codec import HTTP_JSON, JSONRPC
from ...protocol.errors import A2AError
from ...protocol.types import AgentCard, AgentInterface
from .answers import told_by
from .credentials import Credentials
from .errors import HttpError, PeerError, UnusableAnswerError
from .exchange import Authorizer, exchange
from .http import HttpClient, Limits
from .requests import Outgoing
from .trust import Trust
from .urls import parse, redacted

WELL_KNOWN = ("/.well-known/agent-card.json", "/.well-known/agent.json")
GRPC = "GRPC"
BINDINGS = (JSONRPC, HTTP_JSON)
"""What the client uses unless it is told otherwise, the best one first."""
_CARD_SECONDS = 30.0
"""Seconds for each address where a card may be."""
_CARD_BYTES = 4 * 1024 * 1024
_NAMES = {"JSON-RPC": JSONRPC, "REST": HTTP_JSON, "HTTP_JSON": HTTP_JSON}


def card_limits(limits: Limits | None = None) -> Limits:
    """Return the limits for reading a card: those of calls, but no longer than a card needs."""
    limits = limits or Limits()
    return structs.replace(
        limits,
        silence=min(limits.silence, _CARD_SECONDS),
        total=min(limits.total, _CARD_SECONDS),
        body=min(limits.body, _CARD_BYTES),
    )


async def fetch_card(
    http: HttpClient,
    url: str,
    credentials: Credentials | None = None,
    trust: Trust | None = None,
    tls: ssl.SSLContext | None = None,
    auth: Authorizer | None = None,
) -> AgentCard:
    """Return the card of the agent at ``url``, which is the agent's address or its card's.

    An answer that is no card is passed over, and the next address is asked. With ``trust`` the
    first card must be signed by somebody whom ``trust`` names. ``auth`` is used where a card is
    not shown to everybody. Raises PeerError and HttpError.
    """
    tried: list[str] = []
    for address in card_addresses(url):
        try:
            status, body = await fetch(http, address, credentials)
            if status in (401, 403) and auth is not None:
                status, body = await fetch(http, address, credentials, auth)
            if status != 200:
                reason = told_by(body)[:200] if status not in (404, 405) else ""
                tried.append(f"{address} (status {status}{': ' if reason else ''}{reason})")
                continue
            card = await _read(body, trust, tls)
        except UnusableAnswerError as error:
            tried.append(f"{address} ({error})")
            continue
        except SignatureError as error:
            raise PeerError(f"the card at {address} is not trusted: {error}") from error
        except A2AError as error:
            tried.append(f"{address} ({error})")
            continue
        card = _absolute(card, address)
        if _is_for(card, address, url):
            return card
        served = ", ".join(dict.fromkeys(one.url for one in card.supported_interfaces))
        raise PeerError(
            f"no agent at {redacted(url)}: {address} is of {card.name!r} at {served or 'nowhere'}"
        )
    raise PeerError(f"no agent card at {' nor at '.join(tried)}")


async def fetch(
    http: HttpClient,
    address: str,
    credentials: Credentials | None = None,
    auth: Authorizer | None = None,
) -> tuple[int, bytes]:
    """Return the status and the body of a card's address. Raises HttpError."""
    headers = {} if credentials is None else credentials.headers_for(address)
    # Without A2A-Version: clients of every version ask so, and get every interface there is.
    headers.setdefault("Accept", "application/json")
    request = Outgoing("GET", address, headers, b"")
    async with exchange(http, request, auth) as response:
        return response.status, await response.read()


async def _read(body: bytes, trust: Trust | None, tls: ssl.SSLContext | None) -> AgentCard:
    if trust is None:
        return parse_card(body)
    card, _, _ = await trust.verify(body, tls=tls)
    return card


def _absolute(card: AgentCard, address: str) -> AgentCard:
    """Return ``card`` with its relative URLs as they are meant: relative to the card's address."""
    interfaces = [
        structs.replace(one, url=_joined(address, one.url)) if one.url.startswith("/") else one
        for one in card.supported_interfaces
    ]
    return structs.replace(card, supported_interfaces=interfaces)


def _joined(address: str, url: str) -> str:
    try:
        return urljoin(address, url)
    except ValueError:
        return url


def _is_for(card: AgentCard, address: str, url: str) -> bool:
    """Whether a card is that of the agent at ``url``, or of another one on its server."""
    path = _path(url)
    if path in ("", "/a2a") or path.endswith(".json") or urlsplit(address).path not in WELL_KNOWN:
        return True
    # What was meant for a mistyped agent must not reach the one that is served at the root.
    return any(_path(one.url) == path for one in card.supported_interfaces)


def _path(url: str) -> str:
    """Return the path of ``url`` without its last slash, ``""`` where it is no URL."""
    return parse(url).target.partition("?")[0].rstrip("/") if _is_url(url) else ""


def card_addresses(url: str) -> list[str]:
    """Return where the card of the agent at ``url`` may be, without user name and password:
    below the address, then at the root of its server."""
    parts = urlsplit(redacted(url))
    if parts.path.endswith(".json"):
        return [redacted(url)]
    base = parts.path.rstrip("/")
    folders = dict.fromkeys([base, base.removesuffix("/a2a"), ""])
    return [
        urlunsplit((parts.scheme, parts.netloc, folder + path, "", ""))
        for folder in folders
        for path in WELL_KNOWN
    ]


def choose(
    card: AgentCard,
    version: str | None = None,
    bindings: Sequence[str] = (),
    *,
    secure: bool = True,
) -> AgentInterface:
    """Return the interface to talk to: the newest version, and JSON-RPC before REST.

    ``bindings`` are those to use instead, the best one first; ``GRPC`` (of 1.0) is used only if it
    is one of them. ``secure``: whether a bare ``host:port`` of gRPC is one of TLS.

    Raises PeerError, which names what the card offers instead.
    """
    wanted = [_binding(name) for name in bindings] or BINDINGS
    usable = [
        structs.replace(interface, protocol_binding=binding, url=url)
        for interface in card.supported_interfaces
        if (binding := _binding(interface.protocol_binding)) in wanted
        and (version is None or is_legacy(interface) == version.startswith("0."))
        and _is_url(url := grpc_url(interface.url, secure) if binding == GRPC else interface.url)
        and not (binding == GRPC and is_legacy(interface))
    ]
    if not usable:
        offered = ", ".join(
            f"{one.protocol_binding} {one.protocol_version} at {redacted(one.url)!r}"
            for one in card.supported_interfaces
        )
        asked = f"A2A {version} " if version else ""
        over = " or ".join(bindings) or "JSON-RPC or REST"
        raise PeerError(
            f"{card.name!r} does not offer {asked}over {over}; it offers {offered or 'nothing'}"
        )
    # Stable: the card's own order decides among equals (section 8.3).
    return min(usable, key=lambda one: (is_legacy(one), wanted.index(one.protocol_binding)))


def grpc_url(url: str, secure: bool) -> str:
    """Return an address of gRPC as an http or https URL: bare ``host:port``, ``grpcs://`` …"""
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = ("https" if secure else "http"), url
    names = {"grpc": "http", "grpcs": "https", "dns": "https" if secure else "http"}
    return f"{names.get(scheme.lower(), scheme)}://{rest.lstrip('/')}"


def _binding(name: str) -> str:
    name = name.upper()
    return _NAMES.get(name, name)


def _is_url(url: str) -> bool:
    try:
        parse(url)
    except HttpError:
        return False
    return True
