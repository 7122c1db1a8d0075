"""What could never work is refused when the server is made, and the message says what to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from greenroom import Agent, Runtime, TaskContext
from greenroom.auth import Limits, Policy, Security, oauth2, static_tokens
from greenroom.protocol import types as t
from greenroom.stores.memory import MemoryStore

ODD = ['a"b', "a b", "a\\b", "", "é", "a\nb", "a\x7f"]
ISSUER: Any = {"issuer": "https://a.example", "audience": "x"}


def token() -> Any:
    return static_tokens("x" * 16)


def desk(**skill: Any) -> Agent:
    agent = Agent("Desk")

    @agent.skill("admin", **skill)
    async def admin(ctx: TaskContext) -> str:
        return "done"

    return agent


def declaring(scope: str) -> Agent:
    asked = t.SecurityRequirement(schemes={"token": t.StringList(list=[scope])})
    skill = t.AgentSkill(
        id="x", name="X", description="x", tags=["x"], security_requirements=[asked]
    )
    agent = Agent("Desk", skills=[skill])
    agent.handler(lambda ctx: "x")
    return agent


PLACES: dict[str, tuple[str, Callable[[str], tuple[Security, Agent]]]] = {
    "agents": (
        r"policy \(auth.agents\): agent 'desk'",
        lambda scope: (Security(token(), policy=Policy(agents={"desk": [scope]})), desk()),
    ),
    "operations": (
        r"policy \(auth.operations\): GetTask",
        lambda scope: (Security(token(), policy=Policy(operations={"GetTask": [scope]})), desk()),
    ),
    "require": (
        r"require \(auth.require\): token",
        lambda scope: (Security(token(), require=[{"token": [scope]}]), desk()),
    ),
    "flows": (
        r"security scheme 'oauth2' \(auth.oauth_scopes\)",
        lambda scope: (
            Security(oauth2(token_url="https://a.example/t", scopes={scope: ""}, **ISSUER)),
            desk(),
        ),
    ),
    "skills": (
        "skill 'admin' of agent 'desk'",
        lambda scope: (Security(token()), desk(scopes=[scope])),
    ),
    "declared": (
        "skill 'x' of agent 'desk': token",
        lambda scope: (Security(token()), declaring(scope)),
    ),
}


def made(security: Security, agent: Agent, limits: Limits | None = None) -> Runtime:
    return Runtime(agent, store=MemoryStore(), security=security, limits=limits)


@pytest.mark.parametrize("scope", ODD)
@pytest.mark.parametrize("place", PLACES)
def test_scopes_that_no_token_could_name(place: str, scope: str) -> None:
    told, make = PLACES[place]
    with pytest.raises(ValueError, match=f"{told}.* is no scope"):
        made(*make(scope))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("scope", ["a", "desk:use", "https://a.example/.default", "!#[]~"])
def test_scopes_as_they_are_found(place: str, scope: str) -> None:
    made(*PLACES[place][1](scope))


def test_a_text_where_there_should_be_a_list() -> None:
    policy = Policy(agents={"desk": "desk:use"})
    with pytest.raises(ValueError, match="give a list of scopes"):
        made(Security(token(), policy=policy), desk())


def test_operations_that_there_are_not() -> None:
    with pytest.raises(ValueError, match=r"limits.operations: there is no operation GetTsk"):
        made(Security(token()), desk(), Limits(operations={"GetTsk": 1}))
    with pytest.raises(ValueError, match=r"policy \(auth.operations\): .* no operation GetTsk"):
        Security(token(), policy=Policy(operations={"GetTsk": ["a"]}))
