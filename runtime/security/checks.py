"""What an operator or the author of an agent got wrong about callers: said before anybody calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from ...protocol.operations import OPERATIONS
from ...protocol.types import SecurityRequirement
from ..agent import Agent
from ..settings.bounds import check_scopes
from .card import differences
from .limits import Limits
from .policy import Security
from .schemes.ports import Authenticator


def check(security: Security, limits: Limits, agents: Mapping[str, Agent]) -> None:
    """Raise ValueError for what could never be met, and for a card that would promise what is not
    enforced."""
    _check_limits(limits)
    for slug, scopes in security.policy.agents.items():
        if slug not in agents:
            raise ValueError(
                f"policy (auth.agents): there is no agent {slug!r}; there are {list(agents)}"
            )
        check_scopes(scopes, f"policy (auth.agents): agent {slug!r}")
    for name, scopes in security.policy.operations.items():
        check_scopes(scopes, f"policy (auth.operations): {name}")
    authenticator = security.authenticator
    if authenticator is not None:
        _check_schemes(authenticator)
    for agent in agents.values():
        _check_agent(agent, authenticator)


def _check_limits(limits: Limits) -> None:
    unknown = set(limits.operations) - {operation.name for operation in OPERATIONS}
    if unknown:
        raise ValueError(
            f"limits.operations: there is no operation {sorted(unknown)[0]}; there are "
            f"{', '.join(operation.name for operation in OPERATIONS)}"
        )


def _check_schemes(authenticator: Authenticator) -> None:
    for requirement in authenticator.requirements:
        for name, asked in requirement.schemes.items():
            check_scopes(asked.list, f"require (auth.require): {name}")
    for name, scheme in authenticator.schemes.items():
        if (oauth2 := scheme.oauth2_security_scheme) is None:
            continue
        flows = oauth2.flows
        for flow in (getattr(flows, field) for field in flows.__struct_fields__):
            if flow is not None:
                check_scopes(flow.scopes, f"security scheme {name!r} (auth.oauth_scopes)")


def _check_agent(agent: Agent, authenticator: Authenticator | None) -> None:
    enforced = {} if authenticator is None else authenticator.schemes
    declared = agent.security_schemes
    wrong = [] if declared is None else differences(declared, enforced)
    if wrong:
        raise ValueError(
            f"the card of agent {agent.slug!r} declares security schemes that the server "
            f"does not enforce so: {'; '.join(wrong)}. Leave them out, the card follows "
            "the server"
        )
    for skill, scopes in agent.skill_scopes.items():
        where = f"skill {skill!r} of agent {agent.slug!r}"
        check_scopes(scopes, where)
        if scopes and authenticator is None:
            raise ValueError(f"{where} needs scopes, but no security scheme says who has them")
    for skill in agent.skill_ids:
        where = f"skill {skill!r} of agent {agent.slug!r}"
        requirements = agent.skill_requirements(skill)
        for name, asked in (pair for one in requirements for pair in one.schemes.items()):
            check_scopes(asked.list, f"{where}: {name}")
            if name not in enforced:
                raise ValueError(
                    f"{where} declares the security scheme {name!r}, which is not enforced; "
                    f"there are: {sorted(enforced) or 'none'}"
                )
        _check_reach(where, requirements, authenticator)


def _check_reach(
    where: str, declared: Sequence[SecurityRequirement], authenticator: Authenticator | None
) -> None:
    """Raise ValueError for a skill that nobody could use: a caller proves the schemes of one
    alternative, so what a skill wants together must be wanted together by one of them."""
    offered: list[Set[str]] = [set()]
    if authenticator is not None:
        offered += [one.schemes.keys() for one in authenticator.requirements]
    if declared and not any(one.schemes.keys() <= names for one in declared for names in offered):
        wanted = "+".join(declared[0].schemes)
        raise ValueError(
            f"{where} declares {wanted}, which no caller proves together; add an alternative that "
            f"requires {wanted}, before those that need less"
        )
