"""Properties: the task is the fold of its journal, and a stream is its journal, at any pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import hypothesis.strategies as st
import msgspec
from hypothesis import given, settings

from greenroom import Agent, Artifact, Part, TaskContext, TaskState
from greenroom.protocol.frame import Frame
from greenroom.protocol.types import StreamResponse, Task, TaskArtifactUpdateEvent
from greenroom.runtime.call import ANONYMOUS, TaskScope
from greenroom.runtime.journal.fold import SEAL, Artifacts, join, lines_of
from greenroom.testing import VirtualTimeLoop
from tests.support.drive import Caller, KeptStore, running

FEW = settings(max_examples=150, deadline=None)
MANY = settings(max_examples=1000, deadline=None)

names = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(["", "x", "yy", 'é\n"\\'])
contents = st.one_of(
    texts, st.just({"n": 1}), st.just(b"\x00"), st.just([Part(text="p"), Part(data=None)])
)
doings = st.one_of(
    st.tuples(st.just("status"), texts),
    st.tuples(st.just("whole"), names, contents),
    st.tuples(st.just("chunks"), names, st.lists(contents, max_size=5)),
    st.tuples(st.just("interleave"), st.lists(st.tuples(names, contents), max_size=8)),
    st.tuples(st.just("stream"), names, st.lists(texts, max_size=4)),
    st.tuples(st.just("ask"), texts),
    st.tuples(st.just("breathe")),
)
scripts = st.lists(doings, max_size=8)


def speaker(script: list[Any]) -> Agent:
    """An agent that does what a script says."""
    agent = Agent("Speaker")

    async def produce(chunks: list[str]) -> Any:
        for chunk in chunks:
            yield chunk

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        for doing in script:
            match doing:
                case ("status", text):
                    await ctx.status(text)
                case ("whole", name, content):
                    await ctx.artifact(name, content)
                case ("chunks", name, chunks):
                    async with ctx.artifact(name) as out:
                        for chunk in chunks:
                            await out.write(chunk)
                case ("interleave", chunks):
                    writers = {name: ctx.artifact(name) for name, _ in chunks}
                    for name, chunk in chunks:
                        await writers[name].write(chunk)
                case ("stream", name, chunks):
                    await ctx.stream(name, produce, chunks)
                case ("ask", text):
                    await ctx.ask(text or "?")
                case _:
                    await anyio.lowlevel.checkpoint()

    return agent


def fold(frames: list[Frame]) -> Task:
    """Fold a stream as a client does that knows nothing but section 4.2 of the specification."""
    first = frames[0].response.task
    assert first is not None
    status = first.status
    artifacts: dict[str, tuple[Artifact, list[Part]]] = {
        a.artifact_id: (a, list(a.parts)) for a in first.artifacts or []
    }
    for frame in frames[1:]:
        # what travels is the bytes
        event = msgspec.json.decode(frame.json, type=StreamResponse)
        if event.status_update is not None:
            status = event.status_update.status
        else:
            update = event.artifact_update
            assert update is not None
            known = artifacts.get(update.artifact.artifact_id)
            if update.append and known is not None:
                if not (update.last_chunk and update.artifact.parts == SEAL):
                    known[1].extend(update.artifact.parts)
            else:
                artifacts[update.artifact.artifact_id] = (
                    update.artifact, list(update.artifact.parts),
                )  # fmt: skip
    return Task(
        id=first.id,
        status=status,
        artifacts=[msgspec.structs.replace(a, parts=p) for a, p in artifacts.values()] or None,
    )


def same(one: Task, two: Task) -> None:
    assert one.id == two.id
    assert one.status == two.status
    assert one.artifacts == two.artifacts


async def perform(peer: Caller) -> str:
    """Run the script to its end, answering what it asks."""
    task = await peer.send("go")
    while task.status.state is TaskState.INPUT_REQUIRED:
        task = await peer.send("answer", task=task.id)
    assert task.status.state is TaskState.COMPLETED
    return task.id


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Hypothesis calls plain functions; a loop of its own for each example."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(test())


@FEW
@given(script=scripts, tail=st.sampled_from([1, 2, 3, 7, 256]), small=st.booleans())
def test_the_task_is_the_fold_of_its_journal(script: list[Any], tail: int, small: bool) -> None:
    async def test() -> None:
        store = KeptStore()
        options: dict[str, Any] = {
            "tail_events": tail,
            "tail_bytes": 200 if small else 65536,
            "idle": 5.0,
        }
        async with running(speaker(script), store=store, **options) as peer:
            task = await perform(peer)
            live = await peer.get(task)
            frames: list[Frame] = []
            stream = await peer.subscribe(task, after=1)
            while (batch := await stream.next()) is not None:
                frames += batch
            stream.close()
            assert [frame.generation for frame in frames] == list(range(1, live.generation + 1))
            same(fold(frames), live)
            # as of every generation, the snapshot is the fold of what came before
            for cursor in range(1, live.generation + 1, max(1, live.generation // 4)):
                resumed = await peer.subscribe(task, after=cursor)
                first, *_ = await resumed.next() or ()
                resumed.close()
                assert first.response.task is not None
                if cursor > 1:
                    same(fold(frames[:cursor]), first.response.task)
                    same(fold([first, *frames[cursor:]]), live)
        async with running(speaker(script), store=store) as peer:
            assert await peer.get(task) == live

    in_virtual_time(test)


@FEW
@given(
    script=st.lists(doings, min_size=1, max_size=6),
    tail=st.sampled_from([1, 3, 256]),
    how=st.sampled_from(["asleep", "restarted"]),
)
def test_replay_emits_nothing_twice_and_leaves_nothing_out(
    script: list[Any], tail: int, how: str
) -> None:
    script = [*script, ("ask", "last?"), ("whole", "a", "end")]

    async def test() -> None:
        collected: list[Task] = []
        async with running(speaker(script)) as peer:
            collected.append(await peer.get(await perform(peer)))
        store = KeptStore()
        options: dict[str, Any] = {"tail_events": tail, "idle": 5.0}
        async with running(speaker(script), store=store, **options) as peer:
            task = await peer.send("go")
        while task.status.state is TaskState.INPUT_REQUIRED:
            async with running(speaker(script), store=store, **options) as peer:
                task = await peer.send("answer", task=task.id)
                while how == "asleep" and task.status.state is TaskState.INPUT_REQUIRED:
                    await anyio.sleep(20.0)
                    assert not peer.runtime.directory
                    task = await peer.send("answer", task=task.id)
        collected.append(task)
        once, replayed = collected
        assert replayed.generation == once.generation
        assert replayed.artifacts == once.artifacts
        assert [m.text for m in replayed.history or []] == [m.text for m in once.history or []]

    in_virtual_time(test)


readers = st.lists(
    st.tuples(
        st.integers(0, 6),  # doings of the agent before it comes
        st.sampled_from([0.0, 0.5, 3.0]),  # seconds it takes for what it was handed
        st.integers(0, 3),  # how often it gives up waiting for the next events
    ),
    min_size=1,
    max_size=6,
)


@FEW
@given(
    pace=st.lists(st.tuples(st.integers(1, 12), st.sampled_from([0.0, 0.7, 2.0])), max_size=6),
    readers=readers,
    tail=st.sampled_from([1, 2, 5, 256]),
)
def test_every_reader_gets_exactly_the_journal(
    pace: list[tuple[int, float]], readers: list[tuple[int, float, int]], tail: int
) -> None:
    agent = Agent("Paced")

    @agent.handler
    async def handler(ctx: TaskContext) -> None:
        async with ctx.artifact("talk") as out:
            for burst, pause in pace:
                for index in range(burst):
                    await out.write(f"{index} ")
                await anyio.sleep(pause)

    async def test() -> None:
        store = KeptStore()
        heard: list[list[Frame]] = []
        async with running(agent, store=store, tail_events=tail) as peer:
            sending = await peer.stream("go")
            first, *_ = await sending.next() or ()
            assert first.response.task is not None
            task = first.response.task.id

            async def read(stream: Any, frames: list[Frame], slow: float, gives_up: int) -> None:
                heard.append(frames)
                while True:
                    collected: Any = ()
                    if gives_up:
                        gives_up -= 1
                        with anyio.move_on_after(0.1):
                            collected = await stream.next()
                    else:
                        collected = await stream.next()
                    if collected is None:
                        break
                    frames += collected
                    await anyio.sleep(slow)
                stream.close()

            async def come(after: int, slow: float, gives_up: int) -> None:
                await anyio.sleep(float(after))
                if not (await peer.get(task)).status.state.terminal:
                    await read(await peer.subscribe(task), [], slow, gives_up)

            async with anyio.create_task_group() as group:
                group.start_soon(read, sending, [first], 0.0, 0)
                for reader in readers:
                    group.start_soon(come, *reader)
            live = await peer.get(task)
            scope = TaskScope("", agent.slug, ANONYMOUS.owner)
            page = await store.events(scope, task, after=0, limit=10_000)
            assert page is not None
            journal = dict(page.events)
            for frames in heard:
                numbers = [frame.generation for frame in frames]
                assert numbers == list(range(numbers[0], live.generation + 1))
                for frame in frames[1:]:
                    assert frame.json == journal[frame.generation]
                same(fold(frames), live)
            assert peer.runtime.statistics()["streams_open"] == 0

    in_virtual_time(test)


events = st.lists(
    st.builds(
        lambda name, text, append, last: TaskArtifactUpdateEvent(
            task_id="t",
            context_id="c",
            artifact=Artifact(artifact_id=name, parts=[Part(text=text)]),
            append=append,
            last_chunk=last,
        ),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["", "x"]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=8,
)


@MANY
@given(events=events, cuts=st.lists(st.integers(0, 8), max_size=3))
def test_segments_fold_to_what_their_events_fold_to(
    events: list[TaskArtifactUpdateEvent], cuts: list[int]
) -> None:
    live = Artifacts()
    live.apply_all(events)
    stored = Artifacts()
    bounds = [0, *sorted(cuts), len(events)]
    for begin, end in pairwise(bounds):
        told = [StreamResponse(artifact_update=event) for event in events[begin:end]]
        stored.apply_all(lines_of(join(told)))
    assert stored.result() == live.result()
