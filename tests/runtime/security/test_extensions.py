"""Extensions with hooks: negotiated, ordered, typed, and only where they were activated."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
from msgspec import structs

from greenroom import Agent, Part, TaskContext, asgi
from greenroom.protocol import types as t
from greenroom.protocol.errors import InvalidParamsError
from greenroom.runtime.extensions import Extension, ExtensionContext
from tests.support.asgi import message, request

pytestmark = pytest.mark.anyio
SHOUT, SIGN = "https://example.com/shout/v1", "https://example.com/sign/v1"


class Shout(Extension):
    uri = SHOUT
    description = "Says it louder."

    @property
    def params(self) -> dict[str, Any]:
        return {"loud": True}

    async def on_request(self, context: ExtensionContext, request: t.Wire) -> t.Wire | None:
        if not isinstance(request, t.SendMessageRequest):
            return None
        said = request.message.text
        if said == "forbidden":
            raise InvalidParamsError("not that", field="message.parts")
        if said == "broken":
            raise RuntimeError("the cause")
        context.state[SHOUT] = said
        parts = [Part(text=said.upper())]
        return structs.replace(request, message=structs.replace(request.message, parts=parts))

    async def on_response(self, context: ExtensionContext, response: t.Wire) -> t.Wire | None:
        return _tagged(response, "shout", context.state.get(SHOUT))

    async def on_event(
        self, context: ExtensionContext, event: t.StreamResponse
    ) -> t.StreamResponse | None:
        if event.task is None:
            return None
        return structs.replace(event, task=structs.replace(event.task, metadata={"heard": True}))


class Sign(Extension):
    uri = SIGN
    on_error: ClassVar[Literal["fail", "ignore"]] = "ignore"

    async def on_response(self, context: ExtensionContext, response: t.Wire) -> t.Wire | None:
        if context.state.get(SHOUT) == "signless":
            raise RuntimeError("ignored")
        return _tagged(response, "sign", "me")


def _tagged(response: t.Wire, name: str, value: Any) -> t.Wire | None:
    if not isinstance(response, t.SendMessageResponse) or response.task is None:
        return None
    metadata = {**(response.task.metadata or {}), name: value}
    return structs.replace(response, task=structs.replace(response.task, metadata=metadata))


def made() -> Agent:
    agent = Agent("Echo", extensions=[Shout(), Sign()])

    @agent.handler
    async def echo(ctx: TaskContext) -> str:
        return ctx.text

    return agent


async def ask(text: str, asked: str, path: str = "/message:send", old: bool = False) -> Any:
    app = asgi(made())
    name = "x-a2a-extensions" if old else "a2a-extensions"
    headers = [("a2a-version", "1.0"), ("content-type", "application/json"), (name, asked)]
    import json

    async with app.lifespan():
        body = json.dumps(message(text)).encode()
        return await request(app, "POST", path, headers=headers, body=body)


@pytest.mark.parametrize("old", [False, True])
async def test_hooks_run_in_order(old: bool) -> None:
    answer = await ask("hi", f"{SIGN}, {SHOUT}, https://example.com/other", old=old)
    task = answer.json["task"]
    assert task["artifacts"][0]["parts"] == [{"text": "HI"}]
    assert list(task["metadata"].items()) == [("shout", "hi"), ("sign", "me")]
    assert answer["a2a-extensions"] == f"{SIGN}, {SHOUT}"


async def test_what_was_not_activated_does_nothing() -> None:
    answer = await ask("hi", SIGN)
    assert answer.json["task"]["metadata"] == {"sign": "me"}
    assert answer.json["task"]["artifacts"][0]["parts"] == [{"text": "hi"}]
    plain = await ask("hi", "https://example.com/other")
    assert "metadata" not in plain.json["task"]
    assert plain.get("a2a-extensions") is None


async def test_hooks_that_raise() -> None:
    refused = await ask("forbidden", SHOUT)
    assert refused.status == 400
    assert "not that" in refused.body.decode()
    broken = await ask("broken", SHOUT)
    assert broken.status == 500
    assert "the cause" not in broken.body.decode()
    ignored = await ask("signless", f"{SHOUT},{SIGN}")
    assert ignored.json["task"]["metadata"] == {"shout": "signless"}


async def test_events_of_a_stream() -> None:
    answer = await ask("hi", SHOUT, "/message:stream")
    assert b'"heard":true' in answer.events[0].data
    assert "HI" in answer.body.decode()


async def test_an_extension_has_a_name_and_is_declared_once() -> None:
    cases: list[tuple[list[t.AgentExtension | Extension], str]] = [
        ([t.AgentExtension()], "its uri"),
        ([Sign(), Sign()], "once"),
    ]
    for declared, told in cases:
        with pytest.raises(ValueError, match=told):
            Agent("Odd", extensions=declared)


async def test_on_the_card() -> None:
    found = made().card([]).capabilities.extensions
    assert found is not None
    assert found[0] == t.AgentExtension(
        uri=SHOUT, description="Says it louder.", params={"loud": True}
    )
    with pytest.raises(ValueError, match="once"):
        Agent("Twice", extensions=[Shout(), Shout()])
