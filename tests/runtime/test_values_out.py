"""What handlers say, of any type and with any text, is said whole or refused with advice."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import re
import types
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import pytest

from greenroom import Agent, Artifact, InputRequired, Message, Part, Role, TaskContext, TaskState
from tests.support.drive import KeptStore, running

pytestmark = pytest.mark.anyio


class Text(str):
    """As template engines and secrets return."""

    def __str__(self) -> str:
        return "hidden"


class Whole(int):
    pass


class Real(float):
    pass


class Raw(bytes):
    pass


class Table(dict[str, Any]):
    pass


class Row(list[Any]):
    pass


class Colour(enum.Enum):
    RED = "red"


class Scalar:
    """As numpy's scalars and arrays are: no number to Python, with a way to become one."""

    def tolist(self) -> float:
        return 1.5


@dataclass
class Point:
    x: Any


Pair = collections.namedtuple("Pair", "a b")


def named(value: object) -> str:
    """Name a value without its address: every worker must give a test the same name."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:30]


DATA: list[tuple[Any, Any]] = [
    (Table(a=1), {"a": 1}),
    (Row([1, Text("a")]), [1, "a"]),
    (Whole(3), 3),
    (Real(1.5), 1.5),
    (Colour.RED, "red"),
    ({Colour.RED: Text("x"), Text("k"): Whole(1), 2: 3}, {"red": "x", "k": 1, "2": 3}),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (decimal.Decimal("1.50"), "1.50"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ({1}, [1]),
    (frozenset({"a"}), ["a"]),
    ((1, (2,)), [1, [2]]),
    (Pair(1, 2), [1, 2]),
    (Point(Text("a")), {"x": "a"}),
    (collections.deque([1]), [1]),
    (range(3), [0, 1, 2]),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (collections.UserDict(a=1), {"a": 1}),
    ({"a": 1}.keys(), ["a"]),
    (Scalar(), 1.5),
    ({"deep": [Scalar()]}, {"deep": [1.5]}),
    ({"a": b"x"}, {"a": "eA=="}),
    (2**70, 2**70),
    ({"\ud83d": "\ud83d\ude00"}, {"\ufffd": "😀"}),
    (["a\ud83d"], ["a\ufffd"]),
]


def saying(value: Any, how: str) -> Agent:
    agent = Agent("Saying")

    async def made() -> Any:
        return value

    async def chunks() -> AsyncGenerator[Any, None]:
        yield value

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        match how:
            case "return":
                return value
            case "artifact":
                await ctx.artifact("result", value)
            case "chunk":
                async with ctx.artifact("result") as out:
                    await out.write(value)
            case "stream":
                await ctx.stream("result", chunks)
            case "step":
                return await ctx.step(made)
            case "status":
                await ctx.status(value)
                await ctx.artifact("result", "said")
        return None

    return agent


HOW = ["return", "artifact", "chunk", "stream", "step"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("value", "told"), DATA, ids=named)
async def test_data_is_told_as_the_json_it_is(value: Any, told: Any, how: str) -> None:
    async with running(saying(value, how), store=KeptStore()) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.COMPLETED
        [artifact] = task.artifacts or []
        [part] = [part for part in artifact.parts if part != Part(text="")]
        if isinstance(told, str):  # what a step gives back is its JSON
            assert told in (part.text, part.data)
        else:
            assert part.data == told


@pytest.mark.parametrize("how", ["return", "artifact", "chunk", "stream"])
async def test_subclasses_of_text_and_bytes_are_text_and_bytes(how: str) -> None:
    for value, told in (
        (Text("shown"), Part(text="shown")),
        (Raw(b"x"), Part(raw=b"x", media_type="application/octet-stream")),
        (Part(text=Text("shown"), filename=Text("a")), Part(text="shown", filename="a")),
        (
            Part(data=Point(Text("a")), metadata=Table(k=Text("v"))),
            Part(data={"x": "a"}, metadata={"k": "v"}),
        ),
    ):
        async with running(saying(value, how), store=KeptStore()) as peer:
            task = await peer.send("go")
            [artifact] = task.artifacts or []
            assert artifact.parts[0] == told


REFUSED: list[Any] = [
    {"x": float("nan")},
    [float("inf")],
    [-float("inf")],
    10**400,
    {"x": [10**400]},
    object(),
    {"x": object()},
    1j,
    {None: 1},
    {(1, 2): 1},
    (x for x in [1]),
    int,
    Part(),
    Part(text="a", url="b"),
    Part(data={"x": 10**400}),
    Part(text="a", metadata={"x": object()}),
    [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],
]


@pytest.mark.parametrize("how", ["return", "artifact", "chunk", "stream", "status"])
@pytest.mark.parametrize("value", REFUSED, ids=named)
async def test_what_cannot_be_told_on_every_binding_fails_where_it_is_said(
    value: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(saying(value, how), store=KeptStore()) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.FAILED
        assert task.status.message is not None
        assert "Error id" in task.status.message.text
        again = await peer.send("go")
        assert again.status.state is TaskState.FAILED
    assert "TypeError" in caplog.text or "StepFailed" in caplog.text


async def test_what_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    async with running(saying(value, "return")) as peer:
        assert (await peer.send("go")).status.state is TaskState.FAILED


# --- halves of characters -----------------------------------------------------------------------

CHUNKS: list[tuple[list[Any], str]] = [
    (["a \ud83d", "\ude00 b"], "a 😀 b"),
    (["\ud83d", "\ude00"], "😀"),
    (["a", "\ud83d", "", "\ude00"], "a😀"),
    (["a\ud83d"], "a\ufffd"),
    (["\ud83d", "b"], "\ufffdb"),
    (["\ude00", "b"], "\ufffdb"),
    (["\ud83d\ud83d", "\ude00"], "\ufffd😀"),
    ([Text("\ud83d"), Part(text="\ude00")], "😀"),
    ([[Part(text="a"), Part(text="\ud83d")], [Part(text="\ude00"), Part(text="b")]], "a😀b"),
    (["\ud83d", b"x", "\ude00"], "\ufffd\ufffd"),
]


@pytest.mark.parametrize("how", ["writer", "stream", "generator"])
@pytest.mark.parametrize(("chunks", "told"), CHUNKS)
async def test_halves_are_joined_over_the_borders_of_chunks(
    chunks: list[Any], told: str, how: str
) -> None:
    agent = Agent("Halves")

    async def made() -> AsyncGenerator[Any, None]:
        for chunk in chunks:
            yield chunk

    if how == "generator":

        @agent.handler
        async def generate(ctx: TaskContext) -> AsyncGenerator[Any, None]:
            for chunk in chunks:
                yield chunk

    else:

        @agent.handler
        async def handle(ctx: TaskContext) -> None:
            if how == "stream":
                artifact = await ctx.stream("text", made)
                assert artifact.text == told
                return
            async with ctx.artifact("text") as out:
                for chunk in chunks:
                    await out.write(chunk)

    async with running(agent, store=KeptStore()) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.COMPLETED
        assert task.artifacts is not None
        assert task.artifacts[0].text == told


HALF, WHOLE = "half \ud83d of it", "half \ufffd of it"


async def test_no_half_anywhere_loses_an_answer() -> None:
    agent = Agent("Halves")

    async def named() -> str:
        return HALF

    async def fails() -> None:
        raise ValueError(HALF)

    @agent.handler
    async def handle(ctx: TaskContext) -> Any:
        match ctx.text:
            case "artifact":
                await ctx.artifact(HALF, HALF, description=HALF, metadata={HALF: HALF})
                async with ctx.artifact(HALF + "2") as out:
                    await out.write("a")
                    await out.write("b")
            case "step":
                named_step = ctx.with_options(name=HALF)
                assert await named_step.step(named) == WHOLE
                await ctx.stream(HALF, chunks)
                assert ctx.patched(HALF)
                await ctx.artifact(HALF, Artifact(artifact_id=HALF, parts=[Part(text=HALF)]))
            case "fails":
                await ctx.step(fails)
            case "status":
                await ctx.status(HALF, metadata={HALF: HALF})
                return Message(
                    message_id=HALF, role=Role.AGENT, parts=[Part(text=HALF, filename=HALF)]
                )
            case "ask":
                return InputRequired(HALF, metadata={HALF: HALF})
            case "reject":
                await ctx.reject(HALF)
        return None

    async def chunks() -> AsyncGenerator[str, None]:
        yield HALF

    async with running(agent, store=KeptStore()) as peer:
        for text, state in (
            ("artifact", TaskState.COMPLETED), ("step", TaskState.COMPLETED),
            ("fails", TaskState.FAILED), ("status", TaskState.COMPLETED),
            ("ask", TaskState.INPUT_REQUIRED), ("reject", TaskState.REJECTED),
        ):  # fmt: skip
            task = await peer.send(text)
            assert task.status.state is state, text
            if text in ("status", "ask", "reject"):
                assert task.status.message is not None
                assert task.status.message.text == WHOLE
            if text == "artifact":
                assert task.artifacts is not None
                assert task.artifacts[0].name == task.artifacts[0].artifact_id == WHOLE
                assert task.artifacts[0].metadata == {WHOLE: WHOLE}
                assert task.artifacts[1].text == "ab"


async def test_a_direct_message_with_a_half_is_told() -> None:
    agent = Agent("Direct")

    @agent.handler
    async def handle(ctx: TaskContext) -> Message:
        return Message(message_id="m", role=Role.AGENT, parts=[Part(text=HALF)])

    async with running(agent) as peer:
        answer = await peer.answer("go")
        assert isinstance(answer, Message)
        assert answer.text == WHOLE


@pytest.mark.parametrize("how", ["return", "several", "artifact"])
@pytest.mark.parametrize(
    "artifact",
    [Artifact(artifact_id="a", parts=[]), Artifact(artifact_id="", parts=[Part(text="a")])],
)
async def test_an_artifact_without_parts_or_id_goes_out_never(artifact: Artifact, how: str) -> None:
    agent = Agent("Empty")

    @agent.handler
    async def handle(ctx: TaskContext) -> Any:
        if how == "artifact":
            await ctx.artifact("a", artifact)
            return None
        return [artifact] if how == "several" else artifact

    async with running(agent) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.FAILED
        assert not task.artifacts
