"""What handlers hear and say: parts, results, artifacts, generators, dependencies, skills."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import msgspec
import pytest
from pydantic import BaseModel

from greenroom import Agent, Artifact, InputRequired, Message, Part, Role, TaskContext, TaskState
from greenroom.protocol.errors import InvalidParamsError
from greenroom.runtime.agent import slug_of
from greenroom.runtime.call import Principal, TaskScope
from greenroom.runtime.runtime import Runtime
from greenroom.stores.memory import MemoryStore
from tests.support.drive import Caller, KeptStore, read, result, running, said, states, user

pytestmark = pytest.mark.anyio


def returning(value: Any) -> Agent:
    agent = Agent("Returning")

    @agent.handler
    async def handler(ctx: TaskContext) -> Any:
        await ctx.status()
        return value

    return agent


class Point(msgspec.Struct):
    x: int


@dataclass
class Data:
    x: int


class Model(BaseModel):
    x: int


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("text", [Part(text="text")]),
        ("", [Part(text="")]),
        ({"x": 1}, [Part(data={"x": 1})]),
        ([1, 2], [Part(data=[1, 2])]),
        ([], [Part(data=[])]),
        (0, [Part(data=0)]),
        (False, [Part(data=False)]),
        (Point(1), [Part(data={"x": 1})]),
        (Data(1), [Part(data={"x": 1})]),
        (Model(x=1), [Part(data={"x": 1})]),
        (b"\x00\xff", [Part(raw=b"\x00\xff", media_type="application/octet-stream")]),
        (Part(url="https://a.test/b"), [Part(url="https://a.test/b")]),
        ([Part(text="a"), Part(data=1)], [Part(text="a"), Part(data=1)]),
    ],
    ids=repr,
)
async def test_what_a_handler_returns_is_the_result_artifact(value: Any, parts: list[Part]) -> None:
    async with running(returning(value)) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.COMPLETED
        [artifact] = task.artifacts or []
        assert artifact.artifact_id == "result"
        assert artifact.parts == parts


async def test_nothing_returned_is_completed_without_a_result() -> None:
    async with running(returning(None)) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.COMPLETED
        assert task.artifacts is None


async def test_artifacts_are_delivered_as_they_are() -> None:
    one = Artifact(artifact_id="1", name="one", parts=[Part(text="a")], metadata={"m": 1})
    two = Artifact(artifact_id="2", parts=[Part(text="b")])
    async with running(returning(one)) as peer:
        assert (await peer.send("go")).artifacts == [one]
    async with running(returning([one, two])) as peer:
        assert (await peer.send("go")).artifacts == [one, two]


async def test_a_message_ends_the_task_with_its_words() -> None:
    message = Message(message_id="m", role=Role.USER, parts=[Part(text="bye")], context_id="wrong")
    async with running(returning(message)) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.COMPLETED
        found = task.status.message
        assert found is not None
        assert (found.text, found.role, found.task_id, found.context_id) == (
            "bye", Role.AGENT, task.id, task.context_id,
        )  # fmt: skip


async def test_a_message_without_an_id_gets_one() -> None:
    message = Message(message_id="", role=Role.AGENT, parts=[Part(text="bye")])
    async with running(returning(message)) as peer:
        answer = (await peer.send("go")).status.message
        assert answer is not None
        assert answer.message_id


# --- what a handler hears -------------------------------------------------------------------------


async def test_the_message_and_its_parts() -> None:
    heard: dict[str, Any] = {}
    agent = Agent("Ears", input_modes=["*/*"])

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        heard.update(
            text=ctx.text, data=ctx.data, files=ctx.files, parts=len(ctx.parts),
            task=ctx.task_id, context=ctx.context_id, principal=ctx.principal,
            extensions=tuple(ctx.extensions), message=ctx.message.message_id, state=ctx.state,
        )  # fmt: skip

    picture = Part(raw=b"p", filename="p.png", media_type="image/png")
    link = Part(url="https://a.test/b")
    message = user(
        parts=[Part(text="a"), picture, Part(data={"k": [1]}), link, Part(text="b")],
    )
    async with running(agent) as peer:
        ann = Caller(peer.runtime, principal=Principal("ann"))
        task = await ann.send(message, context="c")
        assert heard == {
            "text": "a\nb", "data": {"k": [1]}, "files": [picture, link], "parts": 5,
            "task": task.id, "context": "c" if task.context_id == "c" else task.context_id,
            "principal": Principal("ann"), "extensions": (), "message": message.message_id,
            "state": TaskState.SUBMITTED,
        }  # fmt: skip
        await ann.send(user(parts=[Part(data=None)]))
        assert heard["data"] is None
        assert heard["text"] == ""


@pytest.mark.parametrize(("limit", "expected"), [(None, 3), (0, 0), (1, 1), (2, 2), (9, 3)])
async def test_history_is_read_with_a_limit(limit: int | None, expected: int) -> None:
    heard: list[list[str]] = []
    agent = Agent("Memory")

    @agent.handler
    async def handler(ctx: TaskContext) -> InputRequired:
        heard.append([message.text async for message in ctx.history(limit)])
        return InputRequired("more?")

    async with running(agent, idle=60.0) as peer:
        task = await peer.send("a")
        await anyio.sleep(200.0)
        await peer.send("b", task=task.id)
        assert heard[1] == ["a", "more?", "b"][3 - expected :]
        assert heard[0] == (["a"] if limit != 0 else [])


class PagingStore(KeptStore):
    """Counts what is read of the history."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []

    async def messages(
        self, scope: TaskScope, task_id: str, **options: Any
    ) -> Sequence[tuple[int, bytes]]:
        answer = await super().messages(scope, task_id, **options)
        self.reads.append(len(answer))
        return answer


@pytest.mark.parametrize("limit", [None, 1, 100, 101, 250, 420, 421, 1000])
async def test_a_long_history_is_read_a_page_at_a_time(limit: int | None) -> None:
    heard: list[str] = []
    first: list[str] = []
    store = PagingStore()
    agent = Agent("Memory")

    @agent.handler
    async def handler(ctx: TaskContext) -> InputRequired | str:
        if ctx.text != "look":
            return InputRequired("more?")
        store.reads.clear()
        heard.extend([message.text async for message in ctx.history(limit)])
        return "done"

    async with running(agent, store=store) as peer:
        task = await peer.send("0", history=0)
        first.append("0")
        for number in range(1, 210):
            await peer.send(str(number), task=task.id, history=0)
            first += ["more?", str(number)]
        await peer.send("look", task=task.id, history=0)
        first += ["more?", "look"]
        assert heard == first[-(limit or 10_000) :]
        assert max(store.reads) <= 100


async def test_a_history_of_less_than_nothing_is_refused() -> None:
    agent = Agent("Memory")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        with pytest.raises(ValueError, match="not -1"):
            [message async for message in ctx.history(-1)]
        return "done"

    async with running(agent) as peer:
        assert result(await peer.send("a")) == "done"


# --- status and artifacts -------------------------------------------------------------------------


async def test_status_messages_move_to_the_history_when_others_follow() -> None:
    agent = Agent("Chatty")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        await ctx.status("one", metadata={"percent": 10})
        await ctx.status("two")
        await ctx.status()

    async with running(agent) as peer:
        frames = await read(await peer.stream("go"))
        assert states(frames) == [
            "submitted",
            "working",
            "working",
            "working",
            "working",
            "completed",
        ]
        update = frames[2].response.status_update
        assert update is not None
        assert update.metadata == {"percent": 10}
        [task] = (await peer.list(history_length=10)).tasks
        assert [m.text for m in task.history or []] == ["go", "one", "two"]
        assert task.status.message is None


async def test_an_artifact_in_chunks_keeps_its_parts_and_is_closed() -> None:
    agent = Agent("Writer")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        async with ctx.artifact("report", description="long", metadata={"a": 1}) as report:
            await report.write("one ")
            await report.write("two ")
            await report.write({"n": 3})

    async with running(agent) as peer:
        frames = await read(await peer.stream("go"))
        updates = [u for f in frames if (u := f.response.artifact_update) is not None]
        assert [u.append for u in updates] == [False, True, True, True]
        assert [u.last_chunk for u in updates] == [False, False, False, True]
        assert updates[0].artifact.description == "long"
        task = (await peer.list(include_artifacts=True)).tasks[0]
        [artifact] = task.artifacts or []
        # parts are appended; text is never merged
        assert artifact.parts == [Part(text="one "), Part(text="two "), Part(data={"n": 3})]
        assert (artifact.name, artifact.metadata) == ("report", {"a": 1})


async def test_an_artifact_broken_off_by_an_error_is_not_closed() -> None:
    agent = Agent("Writer")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        try:
            async with ctx.artifact("report") as report:
                await report.write("one ")
                raise ValueError
        except ValueError:
            return "caught"

    async with running(agent) as peer:
        frames = await read(await peer.stream("go"))
        updates = [u for f in frames if (u := f.response.artifact_update) is not None]
        assert [(u.artifact.artifact_id, u.last_chunk) for u in updates] == [
            ("report", False), ("result", True),
        ]  # fmt: skip


async def test_delivering_an_artifact_again_replaces_it() -> None:
    agent = Agent("Writer")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        await ctx.artifact("a", "draft")
        await ctx.artifact("b", "other")
        await ctx.artifact("a", "final")
        await ctx.artifact("c", "x", artifact_id="own-id")

    async with running(agent) as peer:
        task = await peer.send("go")
        assert [(a.artifact_id, a.name, a.text) for a in task.artifacts or []] == [
            ("a", "a", "final"), ("b", "b", "other"), ("own-id", "c", "x"),
        ]  # fmt: skip


# --- generators -----------------------------------------------------------------------------------


async def test_a_generator_handler_streams_what_it_yields() -> None:
    agent = Agent("Generator")

    @agent.handler
    async def handler(ctx: TaskContext) -> AsyncIterator[Any]:
        for index in range(3):
            yield f"{index} "
            await anyio.sleep(1.0)

    async with running(agent) as peer:
        frames = await read(await peer.stream("go"))
        assert states(frames) == ["submitted", "working", *["+result"] * 4, "completed"]
        [task] = (await peer.list(include_artifacts=True)).tasks
        assert result(task) == "0 1 2 "
        assert len((task.artifacts or [])[0].parts) == 3


async def test_a_generator_may_yield_artifacts_and_a_question() -> None:
    closed: list[str] = []
    agent = Agent("Generator")

    @agent.handler
    async def handler(ctx: TaskContext) -> AsyncIterator[Any]:
        try:
            yield Artifact(artifact_id="table", parts=[Part(data=[1])])
            yield InputRequired("more?")
            yield "never"
        finally:
            closed.append("closed")

    async with running(agent) as peer:
        task = await peer.send("go")
        assert task.status.state is TaskState.INPUT_REQUIRED
        assert said(task) == "more?"
        assert [a.artifact_id for a in task.artifacts or []] == ["table"]
        assert closed == ["closed"]


async def test_a_generator_that_is_canceled_is_closed_and_keeps_what_it_said() -> None:
    closed: list[str] = []
    agent = Agent("Generator")

    @agent.handler
    async def handler(ctx: TaskContext) -> AsyncIterator[str]:
        try:
            yield "one"
            await anyio.sleep(1000)
        finally:
            closed.append("closed")

    async with running(agent) as peer:
        task = await peer.send("go", now=True)
        await anyio.sleep(1.0)
        done = await peer.cancel(task.id)
        assert result(done) == "one"
        assert closed == ["closed"]


async def test_stream_pumps_a_generator_into_an_artifact() -> None:
    agent = Agent("Streams")

    async def words(text: str, times: int = 1) -> AsyncGenerator[str, None]:
        for word in text.split() * times:
            yield word

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        artifact = await ctx.stream("words", words, ctx.text, times=2)
        return artifact.text

    async with running(agent) as peer:
        task = await peer.send("a b")
        assert [(a.artifact_id, a.text) for a in task.artifacts or []] == [
            ("words", "abab"), ("result", "abab"),
        ]  # fmt: skip


# --- dependencies and skills ----------------------------------------------------------------------


async def test_dependencies_live_as_long_as_the_runtime() -> None:
    events: list[str] = []
    agent = Agent("Deps")

    @agent.lifespan
    async def lifespan() -> AsyncGenerator[dict[str, str], None]:
        events.append("up")
        yield {"who": "me"}
        events.append("down")

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        events.append("work")
        return str(ctx.deps["who"])

    async with running(agent) as peer:
        assert events == ["up"]
        assert result(await peer.send("go")) == "me"
    assert events == ["up", "work", "down"]


async def test_each_runtime_of_one_agent_has_its_own_dependencies() -> None:
    agent = Agent("Deps")
    made = iter(["first", "second"])

    @agent.lifespan
    async def lifespan() -> AsyncGenerator[str, None]:
        yield next(made)

    @agent.handler
    async def handler(ctx: TaskContext) -> str:
        return str(ctx.deps)

    async with running(agent) as one:
        async with running(agent) as other:
            assert result(await other.send("go")) == "second"
        assert result(await one.send("go")) == "first"


async def test_handlers_end_before_their_dependencies() -> None:
    events: list[str] = []
    agent = Agent("Deps")

    @agent.lifespan
    async def lifespan() -> AsyncGenerator[str, None]:
        yield "deps"
        events.append("down")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        try:
            await anyio.sleep(1000)
        finally:
            events.append(f"with {ctx.deps}")

    async with running(agent) as peer:
        await peer.send("go", now=True)
        await anyio.sleep(1.0)
    assert events == ["with deps", "down"]


async def test_a_skill_is_chosen_by_metadata() -> None:
    agent = Agent("Skilled")

    @agent.skill("first", examples=["one"])
    async def first(ctx: TaskContext) -> str:
        """Do the first thing."""
        return "first"

    @agent.skill(tags=["x"])
    async def second_thing(ctx: TaskContext) -> str:
        return "second"

    async with running(agent) as peer:
        assert result(await peer.send("go")) == "first"
        assert result(await peer.send("go", metadata={"skill": "second-thing"})) == "second"
        chosen = user(metadata={"skill": "second-thing"})
        assert result(await peer.send(chosen)) == "second"
        for wrong in ("unknown", "", 7, ["first"]):
            for options in ({"metadata": {"skill": wrong}}, {}):
                asked = user(metadata=None if options else {"skill": wrong})
                with pytest.raises(InvalidParamsError, match="first, second-thing"):
                    await peer.send(asked, **options)
        assert result(await peer.send("go", metadata={"skill": None})) == "first"
        skills = peer.runtime.card("", []).skills
        assert [(s.id, s.name, s.description, s.tags) for s in skills] == [
            ("first", "First", "Do the first thing.", ["first"]),
            ("second-thing", "Second thing", "Second thing", ["x"]),
        ]


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Travel desk", "travel-desk"), ("Élan's  Bot!", "elans-bot"), ("旅", "agent")],
)
def test_slugs(name: str, slug: str) -> None:
    assert slug_of(name) == slug


def test_what_cannot_be_served_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="decorate a function"):
        Runtime(Agent("Empty"), store=MemoryStore())
    with pytest.raises(ValueError, match="at least one Agent"):
        Runtime([], store=MemoryStore())
    with pytest.raises(ValueError, match="same slug"):
        Runtime([returning(1), returning(2)], store=MemoryStore())
    with pytest.raises(ValueError, match="needs a name"):
        Agent("")
    with pytest.raises(ValueError, match="on_interrupt"):
        Agent("A", on_interrupt="never")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="slug"):
        Agent("A", slug="Not A Slug")
    agent = returning(1)
    with pytest.raises(ValueError, match="handler already"):
        agent.handler(lambda ctx: None)


def test_a_function_that_cannot_be_called_is_refused_when_it_is_declared() -> None:
    def streams(ctx: TaskContext) -> Iterator[str]:
        yield "a"

    async def forgetful() -> None: ...

    async def greedy(ctx: TaskContext, more: int) -> None: ...

    with pytest.raises(TypeError, match="streams yields: make it `async def`"):
        Agent("a").handler(streams)  # type: ignore[type-var]
    for function in (forgetful, greedy):
        with pytest.raises(TypeError, match=f"{function.__name__} .* one argument, the context"):
            Agent("a").skill("s")(function)  # type: ignore[arg-type]
    nothing: Any = None
    with pytest.raises(TypeError, match="a handler is a function, not NoneType"):
        Agent("a").handler(nothing)


async def test_an_artifact_that_is_never_awaited_is_not_lost_in_silence() -> None:
    agent = Agent("Forgetful")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        with pytest.warns(RuntimeWarning, match="'report'.*never awaited"):
            ctx.artifact("report", "text")

    async with running(agent) as caller:
        task = await caller.send("go")
    assert task.status.state is TaskState.COMPLETED
    assert task.artifacts is None
