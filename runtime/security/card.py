"""What cards say of security: written from what the gate enforces, and compared with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import msgspec
from msgspec import structs

from ...protocol.types import (
    AgentCard,
    OAuthFlows,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)
from ..agent import Agent
from ..call import Principal
from .schemes.ports import Authenticator


class CardSecurity:
    """The security that the gate enforces, as the agents' cards say it."""

    def __init__(
        self,
        authenticator: Authenticator | None,
        agents: Mapping[str, frozenset[str]],
        operations: Mapping[str, frozenset[str]],
    ) -> None:
        """``agents`` and ``operations`` are the scopes that each of them needs, by name."""
        self._authenticator = authenticator
        self._agents = agents
        self._operations = operations

    @property
    def schemes(self) -> dict[str, SecurityScheme] | None:
        """``securitySchemes`` of every agent's card; ``None`` in anonymous mode."""
        authenticator = self._authenticator
        return dict(authenticator.schemes) if authenticator is not None else None

    def requirements(self, agent: Agent, skill: str | None = None) -> list[SecurityRequirement]:
        """``securityRequirements`` of an agent's card, or of one of its skills."""
        if self._authenticator is None:
            return []
        extra = set(self._agents.get(agent.slug, ()))
        if skill is not None:
            extra |= agent.skill_scopes.get(skill, frozenset())
        return [_with_scopes(one, extra) for one in self._authenticator.requirements]

    def secured(self, agent: Agent, card: AgentCard) -> AgentCard:
        """Write onto a card what the gate enforces.

        In anonymous mode no caller is known, so nobody can get an extended card of their own.
        """
        if self._authenticator is None:
            capabilities = structs.replace(card.capabilities, extended_agent_card=False)
            return structs.replace(card, capabilities=capabilities)
        skills = [
            structs.replace(skill, security_requirements=self.requirements(agent, skill.id))
            if agent.skill_scopes.get(skill.id)
            else skill
            for skill in card.skills
        ]
        return self.with_flows(
            structs.replace(
                card,
                security_schemes=self.schemes,
                security_requirements=self.requirements(agent),
                skills=skills,
            )
        )

    def with_flows(self, card: AgentCard) -> AgentCard:
        """Let the OAuth flows of a card list the scopes of its skills and of the operations."""
        return with_flows(structs.replace(card, security_schemes=self.schemes), self._operations)

    def permits(self, agent: Agent, skill: str, principal: Principal) -> bool:
        """Whether a principal may use a skill."""
        if not agent.skill_scopes.get(skill, frozenset()) <= principal.scopes:
            return False
        declared = agent.skill_requirements(skill)
        return not declared or any(principal.meets(one) for one in declared)


def _with_scopes(requirement: SecurityRequirement, extra: Set[str]) -> SecurityRequirement:
    """Add scopes to the scheme that says who the caller is: the first."""
    schemes = dict(requirement.schemes)
    first = next(iter(schemes))
    schemes[first] = StringList(list=list(dict.fromkeys([*schemes[first].list, *sorted(extra)])))
    return SecurityRequirement(schemes=schemes)


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
    differences = [
        *(f"{name!r} is not enforced" for name in declared if name not in enforced),
        *(f"{name!r} is enforced and not declared" for name in enforced if name not in declared),
    ]
    for name in declared:
        if name in enforced:
            said, done = (_leaves(msgspec.to_builtins(one[name])) for one in (declared, enforced))
            differences += [
                f"{name}{at} is {_shown(said.get(at))} there and {_shown(done.get(at))} here"
                for at in dict.fromkeys((*said, *done))
                if said.get(at) != done.get(at)
            ]
    return differences


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
