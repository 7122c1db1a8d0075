"""What a card says of security, held against what is enforced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import msgspec
from msgspec import structs

from ...protocol.types import AgentCard, OAuthFlows, SecurityRequirement, SecurityScheme


def with_flows(card: AgentCard, operations: Mapping[str, Set[str]]) -> AgentCard:
    """Let the OAuth flows of a card list every scope that it asks for, and those of ``operations``:
    what a flow does not list, no client can get (section 4.5.8)."""
    schemes = {
        name: _listing(scheme, _asked(card, name, operations))
        for name, scheme in (card.security_schemes or {}).items()
    }
    return structs.replace(card, security_schemes=schemes) if schemes else card


def _asked(
    card: AgentCard, scheme: str, operations: Mapping[str, Set[str]]
) -> Iterator[tuple[str, str]]:
    """Scopes that a card and ``operations`` want of one scheme, and what they are for."""
    for scope in _scopes(card.security_requirements, scheme):
        yield scope, card.name
    for skill in card.skills:
        for scope in _scopes(skill.security_requirements, scheme):
            yield scope, f"Skill: {skill.name}"
    for operation, scopes in operations.items():
        for scope in sorted(scopes):
            yield scope, f"Operation: {operation}"


def _scopes(requirements: list[SecurityRequirement] | None, scheme: str) -> Iterator[str]:
    for requirement in requirements or ():
        if scheme in requirement.schemes:
            yield from requirement.schemes[scheme].list


def _listing(scheme: SecurityScheme, wanted: Iterator[tuple[str, str]]) -> SecurityScheme:
    oauth2 = scheme.oauth2_security_scheme
    if oauth2 is None:
        return scheme
    flows: dict[str, Any] = {
        name: flow
        for name in OAuthFlows.__struct_fields__
        if (flow := getattr(oauth2.flows, name)) is not None
    }
    more = list(wanted)
    for name, flow in flows.items():
        listed: dict[str, str] = dict(flow.scopes or {})
        for scope, what in more:
            listed.setdefault(scope, what)
        flows[name] = structs.replace(flow, scopes=listed)
    return structs.replace(
        scheme, oauth2_security_scheme=structs.replace(oauth2, flows=OAuthFlows(**flows))
    )


def differences(
    declared: Mapping[str, SecurityScheme], enforced: Mapping[str, SecurityScheme]
) -> list[str]:
    """Say how declared schemes are not those that are enforced, one text for each difference."""
    found = [
        *(f"{name!r} is not enforced" for name in declared if name not in enforced),
        *(f"{name!r} is enforced and not declared" for name in enforced if name not in declared),
    ]
    for name in declared:
        if name in enforced:
            said, done = (_leaves(msgspec.to_builtins(one[name])) for one in (declared, enforced))
            found += [
                f"{name}{at} is {_shown(said.get(at))} there and {_shown(done.get(at))} here"
                for at in dict.fromkeys((*said, *done))
                if said.get(at) != done.get(at)
            ]
    return found


def _leaves(value: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {place: value}
    return {
        at: leaf
        for name, inner in value.items()
        for at, leaf in _leaves(inner, f"{place}.{name}").items()
    }


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)
