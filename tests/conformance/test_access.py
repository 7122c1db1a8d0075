"""Who may do what, over every binding alike (sections 3.3.2, 5.1, 13.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest

from greenroom.auth import Policy, Security, StaticToken, static_tokens
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from greenroom.testing import LoopClock
from greenroom.transports.http.asgi import Application
from tests.support.agents import Stage
from tests.support.servers import in_memory

from .conftest import START, said, state
from .dialects import LISTING, Answer, Dialect, Json
from .errors import refused

pytestmark = pytest.mark.anyio

ANN, BEN, EVE = "ann-has-a-long-token", "ben-has-a-long-token", "eve-has-made-this-up"


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


@pytest.fixture
async def app() -> AsyncIterator[Application]:
    tokens = [
        StaticToken(name=name, digest=sha256(token.encode()).digest(), scopes=scopes)
        for name, token, scopes in (("ann", ANN, ("cancel",)), ("ben", BEN, ()))
    ]
    security = Security(static_tokens(tokens), policy=Policy(operations={"CancelTask": ["cancel"]}))
    runtime = Runtime(
        [Stage().agent], store=MemoryStore(), clock=LoopClock(START), security=security
    )
    async with in_memory(runtime=runtime) as server:
        yield server.app


OPERATIONS: list[tuple[str, Json]] = [
    ("SendMessage", said()),
    ("SendStreamingMessage", said()),
    ("GetTask", {"id": "x"}),
    ("CancelTask", {"id": "x"}),
    ("SubscribeToTask", {"id": "x"}),
    ("ListTaskPushNotificationConfigs", {"taskId": "x"}),
]


@pytest.mark.parametrize(("operation", "params"), OPERATIONS)
@pytest.mark.parametrize(
    "headers", [[], bearer(EVE), bearer(""), [("authorization", "Basic Og==")]]
)
async def test_missing_and_invalid_credentials_are_refused(
    app: Application, dialect: Dialect, operation: str, params: Json, headers: Any
) -> None:
    answer = await dialect.call(app, operation, params, headers=headers)
    assert answer.response.status == 401
    assert answer.response["www-authenticate"].startswith("Bearer")
    assert answer.fault is not None
    assert answer.fault.message
    if dialect in LISTING:
        listed = await dialect.call(app, "ListTasks", headers=bearer(ANN))
        assert listed.result["tasks"] == []


async def test_missing_permissions_are_told(app: Application, dialect: Dialect) -> None:
    async def asked(token: str) -> Answer:
        sent = await dialect.call(app, "SendMessage", said("ask"), headers=bearer(token))
        params = {"id": sent.task["id"]}
        return await dialect.call(app, "CancelTask", params, headers=bearer(token))

    assert state((await asked(ANN)).task) == "CANCELED"
    answer = await asked(BEN)
    assert answer.response.status == 403
    assert answer.fault is not None
    assert b"cancel" in answer.response.body + answer.response["www-authenticate"].encode()


async def test_what_is_anothers_does_not_exist(app: Application, dialect: Dialect) -> None:
    sent = await dialect.call(app, "SendMessage", said("ask"), headers=bearer(BEN))
    task = sent.task["id"]
    for operation, params in (
        ("GetTask", {"id": task}),
        ("CancelTask", {"id": task}),
        ("SubscribeToTask", {"id": task}),
        ("SendMessage", said("mine", task=task)),
        ("SendStreamingMessage", said("mine", task=task)),
    ):
        answer = await dialect.call(app, operation, params, headers=bearer(ANN))
        fault = refused(dialect, answer, "TaskNotFound")
        other = params | ({"id": "none"} if "id" in params else said("mine", task="none"))
        unknown = await dialect.call(app, operation, other, headers=bearer(ANN))
        assert unknown.fault is not None
        assert (fault.code, fault.message) == (unknown.fault.code, unknown.fault.message)
    if dialect in LISTING:
        listed = await dialect.call(app, "ListTasks", headers=bearer(ANN))
        assert listed.result["tasks"] == []
        listed = await dialect.call(app, "ListTasks", headers=bearer(BEN))
        assert [one["id"] for one in listed.result["tasks"]] == [task]
