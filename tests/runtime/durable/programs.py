"""Random handlers: programs over all operations of ``ctx``, and the world that their steps act on.

A program is a tree of tuples, made from a seed. All durations are different, so no two things that
matter happen at one moment by accident. What a step does outside takes the same time whatever
happens to the process that began it: the world remembers by the step's key when it will be over, as
a bank does that is asked twice with one idempotency key. So a crash costs no time, and a run with
crashes has to do exactly what a run without them does."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import anyio.lowlevel

from greenroom import Retry, StepFailed, TaskContext, step_info

Node = tuple[Any, ...]

SHORT = (
    "step", "bad", "raise", "flaky", "sleep", "ask", "slow", "receive", "facts", "stream", "status",
    "artifact", "chunks", "patched",
)  # fmt: skip
LONG = ("seq", "gather", "race", "group", "timeout", "try", "finally")


class Maker:
    """Makes a program from a seed."""

    def __init__(self, seed: int, *, sleepy: bool = False) -> None:
        self._random = random.Random(seed)
        self._sleepy = sleepy
        """Time alone decides."""
        self._ids = 0
        self._left = self._random.randint(8, 22)
        """Operations that may still be made."""

    def program(self) -> Node:
        """Return a whole program."""
        return self._seq(4, "r", asks=True, waits=False)

    def _id(self, line: str) -> str:
        self._ids += 1
        return f"{line}:{self._ids}"

    def _time(self) -> float:
        return round(self._random.uniform(2, 90), 3)

    def _seq(self, depth: int, line: str, *, asks: bool, waits: bool) -> Node:
        count = self._random.randint(1, 4)
        nodes: list[Node] = []
        for _ in range(count):
            if self._left <= 0 and nodes:
                break
            nodes.append(self._node(depth, line, asks=asks, waits=waits))
        return ("seq", nodes)

    def _node(self, depth: int, line: str, *, asks: bool, waits: bool) -> Node:
        """``asks``: whether the line may speak with the client, as one line at a time may;
        ``waits``: whether something ends a wait without end."""
        self._left -= 1
        pick = self._random
        if depth and pick.random() < 0.55:
            return self._compound(depth, line, asks=asks, waits=waits)
        if waits and pick.random() < 0.12:
            return ("never",) if asks and pick.random() < 0.5 else ("nap",)
        kind = pick.choice(("sleep", "sleep", "raise") if self._sleepy else SHORT)
        if kind in ("ask", "slow", "receive") and not asks:
            kind = "step"
        if kind == "sleep":
            return (kind, self._time())
        if kind == "stream":
            return (kind, self._id(line), pick.randint(1, 3), self._time())
        return (kind, self._id(line), self._time())

    def _compound(self, depth: int, line: str, *, asks: bool, waits: bool) -> Node:
        pick = self._random
        kind = pick.choice(LONG[:-1] if self._sleepy else LONG)

        def seq(name: str = line, asks: bool = asks, waits: bool = waits) -> Node:
            return self._seq(depth - 1, name, asks=asks, waits=waits)

        if kind == "seq":
            return seq()
        if kind == "try":
            return (kind, seq(), seq())
        if kind == "finally":
            steps = [("step", self._id(line), self._time()) for _ in range(pick.randint(1, 2))]
            return (kind, seq(), ("seq", [("status", self._id(line), 0.0), *steps]))
        if kind == "timeout":
            return (kind, self._time(), seq(waits=True))
        count = pick.randint(2, 3)
        listens = pick.randrange(count + (kind == "group")) if asks else -1
        branches = []
        for index in range(count):
            self._ids += 1
            branch = seq(
                f"{line}/{self._ids}", asks=index == listens, waits=kind == "race" and index > 0
            )
            # Nothing happens at the moment at which all of them begin.
            first: Node = ("sleep", self._time() / 50)
            if not self._sleepy:
                first = ("step", self._id(line), self._time() / 50)
            branches.append(("seq", [first, branch]))
        if kind == "group":
            fails = pick.random() < 0.4
            if fails:  # by way of a gather, which takes a moment; and the block may wait for that
                self._ids += 1
                bad = ("bad", self._id(f"{line}/{self._ids}"), self._time())
                branches.append(("seq", [("gather", [("seq", [bad])])]))
            block = (
                "seq",
                [
                    seq(asks=listens == count, waits=waits or fails)
                    for _ in range(pick.randint(1, 2))
                ],
            )
            return (kind, block, branches)
        return (kind, branches)


class World:
    """What is outside of all processes."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.over_at: dict[Any, float] = {}
        """When what was begun is over, by key."""
        self.done: list[tuple[str, str]] = []
        """What was done, and its key, in order."""
        self.begun: list[tuple[str, str]] = []

    def copy(self, now: Callable[[], float]) -> World:
        """Return the world as it is now."""
        made = World(now)
        made.over_at, made.done, made.begun = dict(self.over_at), list(self.done), list(self.begun)
        return made

    async def take(self, what: str, seconds: float, *more: Any) -> None:
        """Do ``what``, which takes so long in all."""
        key = step_info().key
        self.begun.append((what, key))
        end = self.over_at.setdefault((key, *more), self.now() + seconds)
        await anyio.sleep(max(0.0, end - self.now()))
        if (what, key) not in self.done:
            self.done.append((what, key))


class Player:
    """Runs a program as a handler, in one world."""

    def __init__(self, program: Node, world: World) -> None:
        self.program = program
        self.world = world

    async def handle(self, ctx: TaskContext) -> Any:
        """The handler."""
        told: list[Any] = []
        try:
            await self._run(ctx, self.program, told)
        except Exception as error:
            told.append(f"raised {type(error).__name__}")
        return {"told": told}

    async def _work(self, what: str, seconds: float) -> str:
        await self.world.take(what, seconds)
        return what

    async def _broken(self, what: str, seconds: float) -> None:
        await self.world.take(what, seconds)
        raise LookupError(what)

    async def _flaky(self, what: str, seconds: float) -> str:
        attempt = step_info().attempt
        await self.world.take(what, seconds, attempt)
        if attempt < 3:
            raise OSError(what)
        return what

    async def _echo(self, what: str) -> str:
        await anyio.lowlevel.checkpoint()
        return what

    async def _chunks(self, what: str, count: int, seconds: float) -> AsyncGenerator[str, None]:
        for number in range(count):
            await self.world.take(what, seconds * (number + 1) / count, number)
            yield f"{what} {number} "

    async def _run(self, ctx: TaskContext, node: Node, told: list[Any]) -> None:
        await getattr(self, f"_{node[0]}_node")(ctx, told, *node[1:])

    async def _branch(self, ctx: TaskContext, node: Node) -> list[Any]:
        told: list[Any] = []
        await self._run(ctx, node, told)
        return told

    # --- what waits -------------------------------------------------------------------------------

    async def _step_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        told.append(await ctx.step(self._work, id, takes))

    async def _bad_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        await ctx.step(self._broken, id, takes)

    async def _flaky_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        retry = Retry(attempts=3, delay=0.0, on=(OSError,))
        told.append(await ctx.with_options(retry=retry).step(self._flaky, id, takes))

    async def _sleep_node(self, ctx: TaskContext, told: list[Any], seconds: float) -> None:
        await ctx.sleep(seconds)
        told.append("slept")

    async def _nap_node(self, ctx: TaskContext, told: list[Any]) -> None:
        await anyio.sleep_forever()

    async def _ask_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        told.append(await ctx.ask(f"q {id}"))

    async def _slow_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        told.append(await ctx.ask(f"slow {id}"))

    async def _raise_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        await ctx.sleep(takes)
        raise LookupError(id)

    async def _never_node(self, ctx: TaskContext, told: list[Any]) -> None:
        await ctx.ask("never?")

    async def _receive_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        await ctx.status(f"send {id}")
        told.append((await ctx.receive()).text)

    async def _stream_node(
        self, ctx: TaskContext, told: list[Any], id: str, count: int, takes: float
    ) -> None:
        told.append((await ctx.stream(id, self._chunks, id, count, takes)).text)

    # --- what does not wait -----------------------------------------------------------------------

    async def _facts_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        ctx.now()
        assert 0 <= ctx.random() < 1
        one = str(ctx.uuid())
        told.append(await ctx.step(self._echo, one) == one)

    async def _status_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        await ctx.status(id)

    async def _artifact_node(
        self, ctx: TaskContext, told: list[Any], id: str, takes: float
    ) -> None:
        await ctx.artifact(id, f"all of {id}")

    async def _chunks_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        async with ctx.artifact(id) as artifact:
            await artifact.write("one ")
            told.append(await ctx.step(self._work, id, takes))
            await artifact.write("two")

    async def _patched_node(self, ctx: TaskContext, told: list[Any], id: str, takes: float) -> None:
        told.append(ctx.patched(id))

    # --- what holds others ------------------------------------------------------------------------

    async def _seq_node(self, ctx: TaskContext, told: list[Any], nodes: list[Node]) -> None:
        for node in nodes:
            await self._run(ctx, node, told)

    async def _gather_node(self, ctx: TaskContext, told: list[Any], nodes: list[Node]) -> None:
        told.append(await ctx.gather(*(self._branch(ctx, node) for node in nodes)))

    async def _race_node(self, ctx: TaskContext, told: list[Any], nodes: list[Node]) -> None:
        told.append(await ctx.race(*(self._branch(ctx, node) for node in nodes)))

    async def _group_node(
        self, ctx: TaskContext, told: list[Any], block: Node, nodes: list[Node]
    ) -> None:
        branches: list[Any] = []
        try:
            async with ctx.group() as group:
                branches += [group.start(self._branch, ctx, node) for node in nodes]
                await self._run(ctx, block, told)
        finally:
            told.append([branch.result if branch.done else None for branch in branches])

    async def _timeout_node(
        self, ctx: TaskContext, told: list[Any], seconds: float, node: Node
    ) -> None:
        try:
            async with ctx.timeout(seconds):
                await self._run(ctx, node, told)
        except TimeoutError:
            told.append("late")

    async def _try_node(self, ctx: TaskContext, told: list[Any], body: Node, other: Node) -> None:
        try:
            await self._run(ctx, body, told)
        except (StepFailed, LookupError, TimeoutError) as error:
            told.append(type(error).__name__)
            await self._run(ctx, other, told)

    async def _finally_node(
        self, ctx: TaskContext, told: list[Any], body: Node, clean_up: Node
    ) -> None:
        try:
            await self._run(ctx, body, told)
        finally:
            with anyio.CancelScope(shield=True):
                await self._run(ctx, clean_up, told)
