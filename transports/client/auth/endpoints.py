"""Where tokens come from: what the user says, the card, or a document that either names.

A card may be a stranger's. It may name endpoints of its own origin, which the user configured,
and no others: else it would get the secrets of the client sent wherever it wants.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, structs

from ....protocol import protojson
from ....protocol.types import SecurityScheme
from ..errors import AuthError
from ..http import HttpClient
from ..urls import redacted
from .credential import Binding
from .tokens import LIMITS

_FLOWS = ("authorization_code", "client_credentials", "device_code")


class Endpoints(Struct, frozen=True, kw_only=True):
    """Addresses of one authorization server; ``""`` where one is not known."""

    token: str = ""
    authorization: str = ""
    device: str = ""
    issuer: str = ""
    """Base of a document that names the others (RFC 8414, OpenID Connect Discovery)."""


async def endpoints_of(given: Endpoints, binding: Binding, flow: str) -> Endpoints:
    """Return the endpoints for ``flow``; those that the user gave come first.

    Raises AuthError where the card names another server's, and HttpError.
    """
    missing = _missing(given, flow)
    if not missing:
        return given
    if given.issuer:
        base = given.issuer.rstrip("/")
        document = await _document(binding.http, f"{base}/.well-known/openid-configuration")
        return _filled(given, document)
    named, address = _named(binding.scheme, flow)
    if address and _missing(named, flow):
        _check(binding, address)
        named = _filled(named, await _document(binding.http, address))
    for name in missing:
        url = getattr(named, name)
        if not url:
            raise AuthError(f"the card names no {name} endpoint: configure it")
        _check(binding, url)
    return structs.replace(given, **{name: getattr(named, name) for name in missing})


def _missing(given: Endpoints, flow: str) -> list[str]:
    needed = {"authorization_code": ["authorization", "token"], "device_code": ["device", "token"]}
    return [name for name in needed.get(flow, ["token"]) if not getattr(given, name)]


def _check(binding: Binding, url: str) -> None:
    if not binding.trusted(url):
        raise AuthError(
            f"the card names {redacted(url)} for tokens, which is another server than the "
            "agent's: if you trust it, configure this address yourself"
        )


def _named(scheme: SecurityScheme | None, flow: str) -> tuple[Endpoints, str]:
    """Return what the card names, and the document that names more."""
    if scheme is None:
        return Endpoints(), ""
    if scheme.open_id_connect_security_scheme is not None:
        return Endpoints(), scheme.open_id_connect_security_scheme.open_id_connect_url
    oauth = scheme.oauth2_security_scheme
    if oauth is None:
        return Endpoints(), ""
    flow_of: Any = getattr(oauth.flows, flow)
    named = Endpoints(
        token=getattr(flow_of, "token_url", ""),
        authorization=getattr(flow_of, "authorization_url", ""),
        device=getattr(flow_of, "device_authorization_url", ""),
    )
    return named, oauth.oauth2_metadata_url or ""


def _filled(known: Endpoints, document: dict[str, Any]) -> Endpoints:
    names = {
        "token": "token_endpoint",
        "authorization": "authorization_endpoint",
        "device": "device_authorization_endpoint",
    }
    changes = {
        name: value
        for name, member in names.items()
        if not getattr(known, name) and isinstance(value := document.get(member), str)
    }
    return structs.replace(known, **changes)


async def _document(http: HttpClient, url: str) -> dict[str, Any]:
    headers = {"Accept": "application/json"}
    async with http.request("GET", url, headers=headers, limits=LIMITS) as response:
        body = await response.read()
        try:
            document = msgspec.json.decode(protojson.unmarked(body))
        except (ValueError, RecursionError):
            document = None
        if response.status != 200 or not isinstance(document, dict):
            raise AuthError(f"{redacted(url)} is no metadata of an authorization server")
        return document
