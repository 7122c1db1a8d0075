"""Agent cards in every shape: written for servers, read for clients.

Shapes: ``"1.0"`` (and ``"1.1"``, the same) pure; ``"0.3"`` and ``"0.2"`` pure; ``"both"``, the
members of 1.0 and of 0.3 in one object, for clients that fetch the card without saying a version;
``"0.3+proto"``, the card at ``/v1/card``, whose readers expect either form of security schemes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .. import protojson
from ..errors import (
    InvalidAgentResponseError,
    InvalidParamsError,
    ParseError,
    VersionNotSupportedError,
)
from ..types import AgentCard, AgentInterface
from .legacy import from_legacy, schemes, to_legacy

SHAPES = ("1.0", "1.1", "0.3", "0.3+proto", "0.2", "both")

_OPTIONAL_TEXTS = (("documentationUrl", "documentation_url"), ("iconUrl", "icon_url"))
_FLOWS = ("authorizationCode", "clientCredentials", "deviceCode", "implicit", "password")


def card_json(card: AgentCard, shape: str) -> bytes:
    """Return the card's JSON in ``shape``.

    Raises VersionNotSupportedError when a pure 0.3 or 0.2 card is asked of a card without an
    interface of that version; ``"both"`` is then the pure 1.0 card.
    """
    if shape in ("1.0", "1.1"):
        return protojson.encode(_current(card))
    if shape not in SHAPES:
        raise ValueError(f"No shape of agent cards is called {shape!r}; choose from {SHAPES}")
    legacy = [one for one in card.supported_interfaces if is_legacy(one)]
    if shape == "both":
        if not legacy:
            return protojson.encode(_current(card))
        return protojson.encode(_merge(_current(card), to_legacy(card, legacy, "0.3")))
    if not legacy:
        raise VersionNotSupportedError(f"{card.name} has no interface of A2A {shape[:3]}")
    if shape == "0.2":
        return protojson.encode(to_legacy(card, legacy, "0.2"))
    found = to_legacy(card, legacy, "0.3")
    if shape == "0.3+proto" and "securitySchemes" in found:
        # Python reads the schema's form here, JavaScript the proto's: each ignores the other.
        found["securitySchemes"] = _merge(
            found["securitySchemes"], _current(card)["securitySchemes"]
        )
    return protojson.encode(found)


def parse_card(body: protojson.Body) -> AgentCard:
    """Return the card that ``body`` holds, of whatever version and shape.

    Interfaces of 0.3 cards say so in ``protocol_version``. Raises InvalidAgentResponseError.
    """
    try:
        plain = protojson.plain(body)
        if not isinstance(plain, dict):
            raise InvalidAgentResponseError("Not an agent card: no JSON object")
        if not plain.keys() & {"supportedInterfaces", "supported_interfaces"}:
            if not isinstance(plain.get("url"), str):
                raise InvalidAgentResponseError(
                    "Not an agent card: it has neither supportedInterfaces (1.0) nor url (0.3)"
                )
            plain = from_legacy(plain)
        elif plain.get("securitySchemes"):  # some 1.0 cards keep the form of 0.3 here
            plain = {**plain, "securitySchemes": schemes(plain)}
        card = protojson.read({"capabilities": {}, **plain}, AgentCard)
        # ``optional`` in the proto, so "" is a value, and one that signatures cover (8.4.1).
        said = {field: "" for name, field in _OPTIONAL_TEXTS if plain.get(name) == ""}
        card = msgspec.structs.replace(card, **said) if said else card
    except (InvalidParamsError, ParseError) as error:
        raise InvalidAgentResponseError(f"Not an agent card: {error.message}") from error
    if not card.name:
        raise InvalidAgentResponseError("Not an agent card: name is required")
    return card


def is_legacy(interface: AgentInterface) -> bool:
    """Whether an interface speaks 0.3 or older."""
    return interface.protocol_version.startswith("0.")


def _current(card: AgentCard) -> dict[str, Any]:
    """Return the pure 1.0 card: bare gRPC addresses, one flow in each OAuth 2 scheme."""
    found: dict[str, Any] = msgspec.to_builtins(card)
    for interface in found["supportedInterfaces"]:
        legacy = interface["protocolVersion"].startswith("0.")
        if interface["protocolBinding"] == "GRPC" and not legacy:
            # 1.0 clients hand it to gRPC as it is, which wants host:port
            interface["url"] = interface["url"].partition("://")[2].rstrip("/") or interface["url"]
    for scheme in found.get("securitySchemes", {}).values():
        flows = scheme.get("oauth2SecurityScheme", {}).get("flows", {})
        for extra in [name for name in _FLOWS if name in flows][1:]:
            del flows[extra]
    return found


def _merge(one: Any, other: Any) -> Any:
    """Return ``one`` with the members of ``other`` added at every level; ``one`` wins."""
    if isinstance(one, dict) and isinstance(other, dict):
        both = {**other, **one}
        return {
            name: _merge(one[name], other[name]) if name in one and name in other else value
            for name, value in both.items()
        }
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [_merge(left, right) for left, right in zip(one, other, strict=True)]
    return one
