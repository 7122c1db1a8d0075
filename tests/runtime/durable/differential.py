"""Plays a program without a fault, and again with every fault there is: both must do the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import anyio
import msgspec

from greenroom import Agent, Task, TaskState
from greenroom.protocol.errors import UnsupportedOperationError
from greenroom.protocol.types import Role
from greenroom.runtime.call import TaskScope
from greenroom.runtime.journal.entries import Append, Entry, Kind, Outcome
from greenroom.runtime.runtime import Runtime
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.testing import LoopClock
from tests.support.crash import copy_of
from tests.support.drive import START, Caller, KeptStore, said

from .programs import Maker, Node, Player, World

SCOPE = TaskScope("", "fuzz", "anonymous")
SLOW = 37.7
"""Seconds after which the client answers a slow question."""
SWEEP = 1.0
"""Seconds between two looks at the timers of tasks that are at rest."""
TIE = 0.05
"""Seconds between two things below which their order is accidental."""
GIVEN_UP = 5_000.0
"""Seconds after which a task that has not ended is taken to wait for ever."""


class Left(msgspec.Struct):
    """What a crash leaves: the store, the world, and the time."""

    store: Any
    world: Any
    at: float
    length: int
    """Entries in the journal."""


class Told(msgspec.Struct):
    """What must be the same whatever happened on the way."""

    state: TaskState
    blocked: str
    artifacts: dict[str, str]
    statuses: dict[str, list[str]]
    """What was said, by line."""
    heard: list[str]
    done: list[tuple[str, str]]
    """The effects of the steps, and their keys, in order."""

    def differs(self, other: Told, *, ordered: bool) -> str:
        """Say what differs; empty: nothing."""
        for name in ("blocked", "state", "artifacts", "statuses", "heard"):
            if getattr(self, name) != getattr(other, name):
                return f"{name}: {getattr(self, name)} became {getattr(other, name)}"
        mine, others = (self.done, other.done) if ordered else (set(self.done), set(other.done))
        return "" if mine == others else f"effects: {self.done} became {other.done}"


class CrashingStore(KeptStore):
    """Keeps what a crash after each commit would leave; may stop who plays after so many."""

    def __init__(self, left: KeptStore | None, keep: bool, stop_after: int | None) -> None:
        super().__init__()
        if left is not None:
            vars(self).update(vars(copy_of(left)))
        self._keep = keep
        self._stop_after = stop_after
        self.world: World
        self.copies: list[Left] = []
        self.stop = anyio.CancelScope()

    async def append(self, batch: Sequence[Append], *, now: float) -> Sequence[Outcome]:
        outcomes = await super().append(batch, now=now)
        if self._keep:
            length = max(item.header.sequence for item in batch if item.header is not None)
            world = self.world.copy(self.world.now)
            self.copies.append(Left(copy_of(self), world, self.world.now(), length))
        if self._stop_after is not None:
            self._stop_after -= 1
            if self._stop_after <= 0:
                self.stop.cancel()
        return outcomes


class Played(msgspec.Struct):
    """One way in which a task went."""

    told: Told
    copies: list[Left]
    journal: list[Entry]
    left: Left
    lost: float
    """Seconds that the stop took: a clean-up has a grace."""


class Difference(AssertionError):
    """A run with faults did something else."""


async def play(
    program: Node,
    left: Left | None = None,
    *,
    away: float = 0.0,
    keep: bool = False,
    stop_after: int | None = None,
    idle: float = 1e9,
) -> Played:
    """Play a program from its start, or from what is ``left`` of it, ``away`` seconds later."""
    clock = LoopClock(START if left is None else left.at + away)
    store = CrashingStore(left.store if left is not None else None, keep, stop_after)
    store._nodes.clear()
    world = World(clock.now) if left is None else left.world.copy(clock.now)
    store.world = world
    agent = Agent("Fuzz", version="1", on_interrupt="resume")
    agent.handler(Player(program, world).handle)
    settings = RuntimeSettings(idle=idle, sweep_every=0.5 if idle < 1e9 else SWEEP)
    runtime = Runtime([agent], store=store, settings=settings, clock=clock)
    async with runtime:
        caller = Caller(runtime)
        if left is None:
            await caller.send("go", now=True)
        task = (await store.find("", limit=1))[0].id
        with store.stop, anyio.move_on_after(GIVEN_UP):
            await answer(caller, task, world)
        current = await caller.get(task)
        stopped_at = clock.now()
        if store.stop.cancel_called:
            await runtime.drain(0.0)
    lost = clock.now() - stopped_at
    journal = list(await store.journal(SCOPE, task))
    rest = Left(store, world, clock.now(), len(journal))
    return Played(told_of(current, journal, world), store.copies, journal, rest, lost)


async def answer(caller: Caller, task_id: str, world: World) -> None:
    """Play the client until the task is over. It takes its time for questions that are slow."""
    task = await caller.get(task_id)
    while not task.status.state.terminal and not said(task).startswith("Blocked"):
        words = said(task)
        if task.status.state is TaskState.INPUT_REQUIRED and words.startswith("q "):
            await caller.send(f"a {words}", task=task_id, now=True)
        elif task.status.state is TaskState.INPUT_REQUIRED and words.startswith("slow "):
            due = world.over_at.setdefault(words, world.now() + SLOW)
            if due <= world.now():
                with suppress(UnsupportedOperationError):  # the task ended meanwhile
                    await caller.send(f"a {words}", task=task_id, now=True)
            else:
                with anyio.move_on_after(due - world.now()):
                    await caller.get(task_id, newer_than=task.generation)
                task = await caller.get(task_id)
                continue
        elif words.startswith("send "):
            heard = [message.text for message in task.history or ()]
            if f"a {words}" not in heard:
                with suppress(UnsupportedOperationError):  # the task ended meanwhile
                    await caller.send(f"a {words}", task=task_id, now=True)
        latest = await caller.get(task_id)
        if latest.generation == task.generation:
            latest = await caller.get(task_id, newer_than=task.generation)
        task = latest


def told_of(task: Task, journal: list[Entry], world: World) -> Told:
    statuses: dict[str, list[str]] = {}
    for entry in journal:
        if entry.kind is Kind.EVENT and entry.body.startswith(b'{"statusUpdate"'):
            body = msgspec.json.decode(entry.body)["statusUpdate"]["status"]
            for part in body.get("message", {}).get("parts", ()):
                text = part.get("text", "")
                if ":" in text and not text.startswith(("q ", "slow ", "never", "Blocked")):
                    statuses.setdefault(text.split(":")[0], []).append(text)
    artifacts = {
        artifact.artifact_id: "".join(part.text or str(part.data) for part in artifact.parts)
        for artifact in task.artifacts or ()
    }
    heard = [message.text for message in task.history or () if message.role is Role.USER]
    blocked = said(task) if said(task).startswith("Blocked") else ""
    done = [(what, key.split("@")[0]) for what, key in world.done]
    return Told(task.status.state, blocked, artifacts, statuses, heard, done)


# --- what must hold -------------------------------------------------------------------------------


def check(before: Left | None, played: Played, journal_before: list[Entry]) -> None:
    """Raise ``Difference`` for what may never be, however late and however often a process died."""
    journal = played.journal
    if journal[: len(journal_before)] != journal_before:
        raise Difference("what was written has changed")
    places = Counter((e.run, e.branch, e.ordinal) for e in journal if e.ordinal)
    if twice := [place for place, count in places.items() if count > 1]:
        raise Difference(f"recorded twice: {twice}")
    if not played.told.state.terminal:
        raise Difference(f"it never ended: {played.told.state} {played.told.blocked}")
    if before is not None:
        recorded = {
            (entry.run, entry.branch, entry.ordinal)
            for entry in journal_before
            if entry.kind is Kind.RECORD and entry.body.startswith(b'{"kind":"step"')
        }
        begun = played.left.world.begun[len(before.world.begun) :]
        for what, key in begun:
            _, run, branch, ordinal = key.split("@")[0].split(":")
            if (int(run), branch, int(ordinal)) in recorded:
                raise Difference(f"{what} was recorded and ran again")


def has_tie(played: Played, least: float) -> bool:
    """Whether two things happened, or would have, at about the same moment."""
    times = list(played.left.world.over_at.values())
    for entry in played.journal:
        if entry.kind is Kind.RECORD and entry.body.startswith(
            (b'{"kind":"sleep"', b'{"kind":"timeout"')
        ):
            value = msgspec.json.decode(entry.body)["value"]
            times.append(value[0] if isinstance(value, list) else value)
    times.sort()
    # A task at rest learns from the next sweep that its time is up; an answer wakes it at once.
    answers = [at for key, at in played.left.world.over_at.items() if isinstance(key, str)]
    if any(0 < abs(at - other) < SWEEP for at in answers for other in times):
        return True
    return any(0 < b - a < least for a, b in pairwise(times))


def nothing_begins_after(left: Left, straight: Played) -> bool:
    """Whether all that time decides was recorded when a crash left this."""
    later = straight.journal[left.length :]
    kinds = tuple(
        b'{"kind":"%b"' % kind for kind in (b"sleep", b"timeout", b"step", b"stream", b"answer")
    )
    at_work = any(end > left.at for end in left.world.over_at.values())
    more = len(straight.left.world.begun) > len(left.world.begun)
    return not (at_work or more) and not any(
        entry.kind is Kind.RECORD and entry.body.startswith(kinds) for entry in later
    )


class Report(msgspec.Struct):
    """What was played."""

    programs: int = 0
    ties: int = 0
    """Programs in which two things happen at about the same moment. They are played as all others:
    whatever comes first, a task ends, and nothing that is recorded runs again …"""
    excused: int = 0
    """… but such a program may do something else when it is played again. How often it did."""
    crashes: int = 0
    second: int = 0
    late: int = 0
    stops: int = 0
    rests: int = 0
    differences: list[str] = []


async def compare(seed: int, report: Report, pick: Callable[[int], range]) -> None:
    """Play the program of a seed with every fault; ``pick`` says which commits of so many."""
    program = Maker(seed, sleepy=seed % 3 == 0).program()
    straight = await play(program, keep=True)
    check(None, straight, [])
    report.programs += 1
    tie = has_tie(straight, TIE)
    report.ties += tie

    def compared(told: str) -> None:
        """Raise ``Difference`` for what is ``told``, unless a tie explains it."""
        if told and tie:
            report.excused += 1
        elif told:
            raise Difference(told)

    async def again(how: str, left: Left, *, exact: bool = True, **more: Any) -> Played | None:
        before = straight.journal if left.length > len(straight.journal) else None
        try:
            played = await play(program, left, **more)
            check(left, played, (before or straight.journal)[: left.length] if exact else [])
            if exact:
                compared(straight.told.differs(played.told, ordered=exact))
            return played
        except Exception as error:
            report.differences.append(f"seed {seed}, {how}: {type(error).__name__} {error}")
            return None

    commits = straight.copies
    for number in pick(len(commits)):
        left = commits[number]
        report.crashes += 1
        crashed = await again(f"crash after commit {number + 1}", left, keep=number % 3 == 0)
        if crashed is not None and crashed.copies:
            second = crashed.copies[number % len(crashed.copies)]
            report.second += 1
            try:
                played = await play(program, second)
                check(second, played, crashed.journal[: second.length])
                compared(straight.told.differs(played.told, ordered=True))
            except Exception as error:
                report.differences.append(
                    f"seed {seed}, crash after commit {number + 1} and a second one: "
                    f"{type(error).__name__} {error}"
                )
        # Back late: what is decided by time alone is decided as it was.
        report.late += 1
        alone = nothing_begins_after(left, straight)
        try:
            played = await play(program, left, away=10_000.0)
            check(left, played, straight.journal[: left.length])
            if alone:
                compared(straight.told.differs(played.told, ordered=False))
        except Exception as error:
            report.differences.append(
                f"seed {seed}, back late after commit {number + 1}: {type(error).__name__} {error}"
            )
        if number % 2:
            report.stops += 1
            try:
                stopped = await play(program, stop_after=number + 1)
                rest = stopped.left
                played = await play(program, rest)
                check(rest, played, stopped.journal)
                if stopped.lost < TIE:
                    compared(normalised(straight).differs(normalised(played), ordered=True))
            except Exception as error:
                report.differences.append(
                    f"seed {seed}, stop after commit {number + 1}: {type(error).__name__} {error}"
                )
    if not has_tie(straight, 2.0):
        report.rests += 1
        try:
            rested = await play(program, idle=0.5, keep=True)
            check(None, rested, [])
            if told := normalised(straight).differs(normalised(rested), ordered=False):
                raise Difference(told)
            for number in pick(len(rested.copies)):
                left = rested.copies[number]
                played = await play(program, left, idle=0.5)
                check(left, played, rested.journal[: left.length])
                if told := rested.told.differs(played.told, ordered=False):
                    raise Difference(f"after commit {number + 1}: {told}")
        except Exception as error:
            report.differences.append(f"seed {seed}, at rest: {type(error).__name__} {error}")


def normalised(played: Played) -> Told:
    """Without the id of the task."""
    told = played.told
    done = [(what, key.split(":", 1)[1]) for what, key in told.done]
    return msgspec.structs.replace(told, done=done)
