"""The card of A2A 0.3 and 0.2, as plain JSON objects, from and to the card of 1.0.

Lost from 0.3 to 1.0: ``stateTransitionHistory``, which 1.0 has no more. Lost from 1.0: tenants,
PKCE, the device code flow.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..types import AgentCard, AgentInterface

Plain = dict[str, Any]

# The member of a 1.0 scheme, the `type` of 0.3, and the members that have another name there.
_SCHEMES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("apiKeySecurityScheme", "apiKey", {"location": "in"}),
    ("httpAuthSecurityScheme", "http", {}),
    ("oauth2SecurityScheme", "oauth2", {}),
    ("openIdConnectSecurityScheme", "openIdConnect", {}),
    ("mtlsSecurityScheme", "mutualTLS", {}),
)
_TYPES = {type_: (member, renamed) for member, type_, renamed in _SCHEMES}
_OAUTH_URLS = {
    "authorizationCode": ("authorizationUrl", "tokenUrl"),
    "clientCredentials": ("tokenUrl",),
    "implicit": ("authorizationUrl",),
    "password": ("tokenUrl",),
}
_SAME = (
    "name", "description", "version", "provider", "documentationUrl", "iconUrl", "capabilities",
    "defaultInputModes", "defaultOutputModes", "skills", "signatures",
)  # fmt: skip


def to_legacy(
    card: AgentCard, interfaces: list[AgentInterface], shape: Literal["0.3", "0.2"]
) -> Plain:
    """Return the card of ``shape``; ``interfaces`` (not empty) are those of its version."""
    plain: Plain = msgspec.to_builtins(card)
    first = interfaces[0]
    legacy: Plain = {
        "protocolVersion": "0.2.6" if shape == "0.2" else _patch(first.protocol_version),
        "url": first.url,
        "preferredTransport": first.protocol_binding,
        "additionalInterfaces": [
            {"url": one.url, "transport": one.protocol_binding} for one in interfaces
        ],
    }
    legacy.update((name, plain[name]) for name in _SAME if name in plain)
    capabilities = legacy["capabilities"]
    extended = capabilities.pop("extendedAgentCard", None)
    if extended is not None:
        legacy["supportsAuthenticatedExtendedCard"] = extended
    capabilities["stateTransitionHistory"] = False
    for skill in legacy["skills"]:
        requirements = skill.pop("securityRequirements", None)
        if requirements is not None and shape != "0.2":
            skill["security"] = _security(requirements)
    if (schemes := plain.get("securitySchemes")) is not None:
        legacy["securitySchemes"] = {name: _scheme(scheme) for name, scheme in schemes.items()}
    if (requirements := plain.get("securityRequirements")) is not None:
        legacy["security"] = _security(requirements)
    if shape == "0.2":
        legacy.pop("signatures", None)
        _leave_out(legacy)
    return legacy


def _patch(version: str) -> str:
    return {"0.3": "0.3.0", "0.2": "0.2.6"}.get(version, version)


def _security(requirements: list[Plain]) -> list[Plain]:
    return [
        {name: scopes.get("list", []) for name, scopes in one.get("schemes", {}).items()}
        for one in requirements
    ]


def _scheme(scheme: Plain) -> Plain:
    for member, type_, renamed in _SCHEMES:
        if (inner := scheme.get(member)) is not None:
            written: Plain = {"type": type_}
            for name, value in inner.items():
                written[str(renamed.get(name, name))] = value
            if type_ == "oauth2":
                written["flows"] = _flows(inner["flows"])
            return written
    raise ValueError("A security scheme has exactly one member (A2A 1.0 section 4.5.1)")


def _flows(flows: Plain) -> Plain:
    """All members but ``refreshUrl`` are required in 0.3."""
    written: Plain = {}
    for name, urls in _OAUTH_URLS.items():
        if (flow := flows.get(name)) is not None:
            written[name] = {url: flow.get(url, "") for url in urls}
            written[name]["scopes"] = flow.get("scopes", {})
            if "refreshUrl" in flow:
                written[name]["refreshUrl"] = flow["refreshUrl"]
    return written


def _leave_out(card: Plain) -> None:
    """Leave out what 0.2 does not know, mutual TLS and the metadata URL, for its readers refuse
    unknown types, and ``security`` may name only schemes that are there. An alternative that is of
    mutual TLS alone goes: without a name it would say that nothing is required.
    """
    schemes = card.get("securitySchemes", {})
    for name, scheme in list(schemes.items()):
        if scheme["type"] == "mutualTLS":
            del schemes[name]
        scheme.pop("oauth2MetadataUrl", None)
    left = [
        ({name: scopes for name, scopes in one.items() if name in schemes}, one)
        for one in card.pop("security", ())
    ]
    if kept := [known for known, one in left if known or not one]:
        card["security"] = kept


def from_legacy(plain: Plain) -> Plain:
    """Return the 1.0 form of a 0.3 or 0.2 card, in its schema's form or its proto's.

    ``url`` is text. Members that have another shape than theirs are left out.
    """
    version = ".".join(str(plain.get("protocolVersion") or "0.3").split(".")[:2])
    first = (plain["url"], _text(plain.get("preferredTransport")) or "JSONRPC")
    addresses = [first]
    for one in _objects(plain, "additionalInterfaces"):
        address = (_text(one.get("url")), _text(one.get("transport")))
        if all(address) and address not in addresses:
            addresses.append(address)
    current: Plain = {
        "supportedInterfaces": [
            {"url": url, "protocolBinding": binding, "protocolVersion": version}
            for url, binding in addresses
        ]
    }
    current.update((name, plain[name]) for name in _SAME if plain.get(name) is not None)
    if plain.get("supportsAuthenticatedExtendedCard") is not None:
        current["capabilities"] = {
            **_object(current, "capabilities"),
            "extendedAgentCard": plain["supportsAuthenticatedExtendedCard"],
        }
    if "skills" in current:
        current["skills"] = [
            {**skill, "securityRequirements": _requirements(skill)}
            if "security" in skill
            else skill
            for skill in _objects(plain, "skills")
        ]
    if plain.get("securitySchemes") is not None:
        current["securitySchemes"] = schemes(plain)
    if plain.get("security") is not None:
        current["securityRequirements"] = _requirements(plain)
    return current


def schemes(plain: Plain) -> Plain:
    """Return the security schemes of any card in 1.0 form, without those of unknown kinds."""
    given = _object(plain, "securitySchemes")
    read = {name: _from_scheme(scheme) for name, scheme in given.items()}
    return {name: scheme for name, scheme in read.items() if scheme is not None}


def _requirements(holder: Plain) -> list[Plain]:
    alternatives = []
    for one in _alternatives(holder.get("security")):
        if isinstance(one.get("schemes"), dict):  # the proto's form is that of 1.0
            alternatives.append(one)
        else:
            alternatives.append(
                {"schemes": {name: {"list": scopes} for name, scopes in one.items()}}
            )
    return alternatives


def _alternatives(security: Any) -> list[Plain]:
    """Return the alternatives of ``security``; one alone may stand without its list."""
    given = [security] if isinstance(security, dict) else security
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def _from_scheme(scheme: Any) -> Plain | None:
    if not isinstance(scheme, dict):
        return None
    if any(member in scheme for member, _, _ in _SCHEMES):  # the proto's form is that of 1.0
        return scheme
    type_ = scheme.get("type")
    if not isinstance(type_, str) or type_ not in _TYPES:
        return None
    member, renamed = _TYPES[type_]
    names = {legacy: current for current, legacy in renamed.items()}
    return {member: {names.get(key, key): value for key, value in scheme.items() if key != "type"}}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _objects(holder: Plain, name: str) -> list[Plain]:
    items = holder.get(name)
    return [one for one in items if isinstance(one, dict)] if isinstance(items, list) else []


def _object(holder: Plain, name: str) -> Plain:
    member = holder.get(name)
    return member if isinstance(member, dict) else {}
