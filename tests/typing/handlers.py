"""Typical handlers, with the exact types that a type checker must see.

``test_typing.py`` has mypy and pyright read this file, both strict. Nobody runs it. A line that
ends with ``# wrong`` must be an error of both; every other line must be none of either.
"""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal, assert_type
from uuid import UUID

from greenroom import (
    Agent,
    Artifact,
    BlockingContext,
    InputRequired,
    Message,
    Principal,
    Retry,
    Task,
    TaskContext,
    TaskState,
    asgi,
    serve,
)
from greenroom.testing import LocalClient, run, served


@dataclass
class Trip:
    city: str
    nights: int


class Database:
    def find(self, name: str) -> Trip | None:
        return None


class Other:
    pass


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


async def search(city: str, day: date) -> list[int]:
    return [99]


def count(words: str, *, limit: int = 3) -> int:
    return len(words) + limit


async def write(city: str, fare: int) -> AsyncGenerator[str, None]:
    yield city


def lines(city: str) -> Iterator[str]:
    yield city


agent = Agent("Travel desk", "Books trips.", on_interrupt="resume", on_mismatch="block")
typed = Agent[Database]("Typed", deadline=60)
assert_type(agent, Agent[Any])
assert_type(typed, Agent[Database])


# --- coroutine functions --------------------------------------------------------------------------


@agent.handler
async def book(ctx: TaskContext) -> str:
    assert_type(ctx.text, str)
    assert_type(ctx.message, Message)
    assert_type(ctx.principal, Principal)
    assert_type(ctx.state, TaskState)
    assert_type(await ctx.ask("Where?"), str)
    assert_type(await ctx.ask("When?", date), date)
    assert_type(await ctx.ask("How many?", int | None), int | None)
    assert_type(await ctx.ask("Which?", Literal["a", "b"]), Literal["a", "b"])
    assert_type(await ctx.ask("Which ones?", list[int]), list[int])
    assert_type(await ctx.ask("Trip?", Trip), Trip)
    assert_type(await ctx.ask("Size?", Size), Size)
    assert_type(await ctx.ask("Say it.", Message), Message)
    assert_type(await ctx.step(search, "Lisbon", date.today()), list[int])
    assert_type(await ctx.step(count, "words", limit=1), int)
    options = ctx.with_options(name="search", retry=Retry(attempts=2), timeout=5)
    assert_type(await options.step(search, "Lisbon", date.today()), list[int])
    assert_type(await options.step(count, "words"), int)
    fares, words = await ctx.gather(
        ctx.step(search, "Lisbon", date.today()), ctx.step(count, "words")
    )
    assert_type(fares, list[int])
    assert_type(words, int)
    assert_type(await ctx.gather(ctx.step(count, "a")), tuple[int])
    many = [ctx.step(count, word) for word in "abc"]
    assert_type(await ctx.gather(*many), tuple[int, ...])
    assert_type(await ctx.race(ctx.step(count, "a"), ctx.step(count, "b")), int)
    async with ctx.group() as group:
        started = group.start(search, "Lisbon", date.today())
        group.start(search, "Lisbon")  # wrong
    assert_type(started.result, list[int])
    assert_type(await ctx.stream("text", write, "Lisbon", 99), Artifact)
    assert_type(await ctx.stream("text", write, "Lisbon", 99, on_restart="continue"), Artifact)
    assert_type(await ctx.receive(), Message)
    assert_type(ctx.now(), datetime)
    assert_type(ctx.uuid(), UUID)
    async for message in ctx.history():
        assert_type(message, Message)
    await ctx.status("Soon")
    await ctx.ask("How many?", 3)  # wrong
    await ctx.step(search, "Lisbon")  # wrong
    await ctx.step(search, 1, date.today())  # wrong
    await ctx.step(search("Lisbon", date.today()))  # wrong
    await options.step(search, "Lisbon")  # wrong
    await ctx.stream("text", write, "Lisbon", 99, on_restart="never")  # wrong
    await ctx.stream("text", search, "Lisbon", date.today())  # wrong
    ctx.with_options(retries=3)  # wrong
    print(ctx.txt)  # wrong
    await ctx.status("Soon", "working")  # wrong
    return await ctx.ask("Sure?", int)  # wrong


async def call(ctx: TaskContext) -> None:
    assert_type(await book(ctx), str)


@agent.skill
async def quote(ctx: TaskContext) -> Trip:
    return Trip(ctx.text, 1)


@agent.skill("cancel", tags=["trips"], scopes=["cancel"])
async def cancel(ctx: TaskContext) -> InputRequired:
    await ctx.reject("No.")


@agent.skill()
async def chunks(ctx: TaskContext) -> AsyncGenerator[str, None]:
    yield ctx.text


@agent.handler()
async def direct(ctx: TaskContext) -> Message:
    return ctx.message


# --- plain functions ------------------------------------------------------------------------------


@agent.skill("plain")
def plain(ctx: BlockingContext) -> int:
    assert_type(ctx.ask("Where?"), str)
    assert_type(ctx.ask("How many?", int | None), int | None)
    assert_type(ctx.ask("Trip?", Trip), Trip)
    assert_type(ctx.step(search, "Lisbon", date.today()), list[int])
    assert_type(ctx.step(count, "words", limit=1), int)
    options = ctx.with_options(timeout=5)
    assert_type(options.step(search, "Lisbon", date.today()), list[int])
    assert_type(options.step(count, "words"), int)
    assert_type(ctx.stream("text", lines, "Lisbon"), Artifact)
    assert_type(ctx.stream("text", write, "Lisbon", 99, on_restart="again"), Artifact)
    assert_type(ctx.receive(), Message)
    assert_type(ctx.now(), datetime)
    for message in ctx.history():
        assert_type(message, Message)
    ctx.step(search, "Lisbon")  # wrong
    ctx.step(count, "words", limits=1)  # wrong
    ctx.gather(ctx.step(count, "words"))  # wrong
    ctx.ask("How many?", 3)  # wrong
    options.step(count)  # wrong
    return ctx.ask("Sure?")  # wrong


# --- dependencies ---------------------------------------------------------------------------------


@typed.lifespan
async def database() -> AsyncGenerator[Database, None]:
    yield Database()


@typed.handler
async def look(ctx: TaskContext[Database]) -> str:
    assert_type(ctx.deps, Database)
    assert_type(ctx.deps.find("Lisbon"), Trip | None)
    ctx.deps.fnd("Lisbon")  # wrong
    return "found"


@typed.skill("plain")
def look_plainly(ctx: BlockingContext[Database]) -> str:
    assert_type(ctx.deps, Database)
    return "found"


@typed.skill
async def any_context(ctx: TaskContext) -> str:
    return "found"


async def other_database() -> AsyncGenerator[Other, None]:
    yield Other()


async def of_another_agent(ctx: TaskContext[Other]) -> str:
    return "found"


async def of_a_text(text: str) -> str:
    return text


async def of_nothing() -> str:
    return "found"


def of_the_wrong_context(ctx: TaskContext) -> str:
    return "found"


typed.lifespan(other_database)  # wrong
typed.handler(of_another_agent)  # wrong
typed.handler(of_a_text)  # wrong
typed.handler(of_nothing)  # wrong
typed.handler(of_the_wrong_context)  # wrong
typed.skill("text")(of_a_text)  # wrong
typed.skill(of_a_text)  # wrong
typed.handler("look")  # wrong
Agent("A", on_interrupt="retry")  # wrong
Agent("A", on_mismatch="go on")  # wrong
Agent("A", input_modes=3)  # wrong
Agent()  # wrong
asgi("a:b")  # wrong
serve(of_a_text)  # wrong
serve(agent, "shop:desk", port=8080)


# --- tests ----------------------------------------------------------------------------------------


async def converse() -> int:
    async with served(agent, typed, principal=Principal(owner="ada"), raise_errors=True) as client:
        assert_type(client, LocalClient)
        answer = await client.send("Lisbon")
        assert_type(answer, Task | Message)
        assert isinstance(answer, Task)
        assert_type(await client.reply(answer, "2026-05-01"), Task)
        await client.send(wait="yes")  # wrong
    return 1


assert_type(run(converse), int)
