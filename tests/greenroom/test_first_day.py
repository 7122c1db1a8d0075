"""The mistakes of a first day: what the message must contain, so that it says what to do."""

from __future__ import annotations

import inspect
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pydantic
import pytest

from greenroom import (
    Agent,
    BlockingContext,
    MemoryStore,
    Message,
    Retry,
    Runtime,
    RuntimeSettings,
    Settings,
    Skill,
    SQLiteStore,
    Task,
    TaskContext,
    asgi,
    serve,
)
from greenroom.cli.main import main
from greenroom.testing import run, served

# --- the command line -----------------------------------------------------------------------------

GOOD = """
from greenroom import Agent
agent = Agent("Good")

@agent.handler
async def answer(ctx):
    return "yes"
"""

FILES = {
    "good.py": GOOD,
    "two.py": GOOD + 'other = Agent("Other")\nother.handler(answer)\n',
    "twins.py": GOOD + 'twin = Agent("Good")\ntwin.handler(answer)\n',
    "empty.py": "x = 1\n",
    "lazy.py": 'from greenroom import Agent\nagent = Agent("Lazy")\n',
    "syntax.py": "from greenroom import Agent\nagent = Agent('A'\n",
    "needs.py": "import torch_is_not_there\n",
    "misspelt.py": "from greenroom import Agent, TaskContxt\n",
    "fails.py": "def make():\n    return 1 / 0\nagent = make()\n",
    "exits.py": "import sys\nsys.exit(1)\n",
    "texts.py": GOOD.replace("(ctx)", "(text: str)"),
    "none.py": GOOD.replace("(ctx)", "()"),
    "port.toml": '[greenroom]\nhost = "127.0.0.1"\nport = "many"\n',
    "idle.toml": '[greenroom]\n\n[greenroom.runtime]\nidle = "soon"\n',
    "dotted.toml": '[greenroom]\nruntime.idle = "soon"\n',
    "inline.toml": '[greenroom]\nruntime = { idle = "soon" }\n',
    "unknown.toml": "[greenroom]\nprot = 8080\n",
    "bare.toml": "port = 8080\n",
    "broken.toml": "[greenroom]\nport = \n",
    "flat.toml": "[greenroom]\nruntime = 3\n",
    "cert.pem": "no certificate\n",
}
BUSY = "{busy}"


class Command(NamedTuple):
    """What is typed, and what the message must contain."""

    arguments: str
    texts: tuple[str, ...]
    environment: Mapping[str, str] = MappingProxyType({})


COMMANDS = [
    Command("", ("COMMAND", "greenroom --help")),
    Command("serv good.py:agent", ("did you mean serve?",)),
    Command("serve", ("greenroom serve module:agent",)),
    Command("serve nothing.py:agent", ("no file nothing.py", "looked for")),
    Command("serve good:agnt", ("no attribute 'agnt'", "agents are: agent")),
    Command("serve folder", ("folder", "it has no agents")),
    Command("serve ./folder", ("is a folder", "folder/main.py:agent")),
    Command("serve ./good:agent", ("did you mean ./good.py?",)),
    Command("serve no_such_module:agent", ("no module 'no_such_module'",)),
    Command("serve empty.py:agent", ("no attribute 'agent'", "Agent('Name')")),
    Command("serve empty.py", ("Agent('Name')",)),
    Command("serve two.py", ("two.py:agent, two.py:other",)),
    Command("serve twins.py:agent twins.py:twin", ("slug 'good'", "Agent(..., slug=...)")),
    Command("serve good.py:answer", ("is a function, not an Agent", "agents are: agent")),
    Command("serve lazy.py:agent", ("has no handler", "@agent.handler")),
    Command("serve syntax.py:agent", ("syntax.py", "line 2", "SyntaxError")),
    Command("serve needs.py:agent", ("line 1", "Install what has the module 'torch_is_not_there'")),
    Command("serve misspelt.py:agent", ("line 1", "cannot import name 'TaskContxt'")),
    Command("serve fails.py:agent", ("line 3", "line 2, in make", "ZeroDivisionError")),
    Command("serve exits.py:agent", ("line 2", "Do not exit")),
    Command("serve texts.py:agent", ("async def answer(ctx: TaskContext)", "`ctx.text`")),
    Command("serve none.py:agent", ("async def answer(ctx: TaskContext)",)),
    Command("serve good.py:agent --prot 1", ("--prot", "did you mean --port?")),
    Command("serve good.py:agent --port", ("--port", "expected one argument")),
    Command("serve good.py:agent --port many", ("port", "a whole number", "(--port)")),
    Command("serve good.py:agent --port 99999", ("port", "<= 65535", "(--port)")),
    Command(f"serve good.py:agent --port {BUSY}", ("in use", "--port (0 picks a free one)")),
    Command("serve good.py:agent --host no.such.host.invalid", ("no.such.host.invalid",)),
    Command("serve good.py:agent --idle 3", ("--set runtime.idle=...",)),
    Command("serve good.py:agent --set runtime.idle", ("NAME=VALUE",)),
    Command("serve good.py:agent --set runtime.idel=3", ("did you mean runtime.idle?",)),
    Command("serve good.py:agent --set runtime.idle=soon", ("a number", "--set runtime.idle")),
    Command("serve good.py:agent --set runtime=3", ("group", "runtime.")),
    Command("serve good.py:agent --log-level loud", ("'debug', 'info', 'warning', 'error'",)),
    Command("serve good.py:agent --loop uvlop", ("did you mean uvloop?",)),
    Command("serve good.py:agent --loop uvloop --backend trio", ("leave it out with trio",)),
    Command("serve good.py:agent --workers 2", ("run one worker",)),
    Command("serve good.py:agent --grace 30", ("make the deadline some seconds longer",)),
    Command("serve good.py:agent --store tasks.db", ("sqlite:///file.db",)),
    Command("serve good.py:agent --store postgres://db", ("sqlite:///file.db", "memory://")),
    Command("serve good.py:agent --store sqlite:///no/such/folder/a.db", ("no/such/folder",)),
    Command("serve good.py:agent --public-url example.com", ("https://agents.example.com",)),
    Command("serve good.py:agent --certfile cert.pem", ("certfile and keyfile",)),
    Command("serve good.py:agent --certfile cert.pem --keyfile cert.pem", ("cert.pem",)),
    Command("serve good.py:agent --set auth.keys_file=no.json", ("no.json",)),
    Command("serve good.py:agent --config no.toml", ("no.toml", "No such file")),
    Command("serve good.py:agent --config broken.toml", ("broken.toml", "line 2")),
    Command("serve good.py:agent --config bare.toml", ("bare.toml", "[greenroom] table")),
    Command("serve good.py:agent --config unknown.toml", ("unknown.toml", "did you mean port?")),
    Command("serve good.py:agent --config port.toml", ("a whole number", "port.toml, line 3")),
    Command("serve good.py:agent --config idle.toml", ("runtime.idle", "idle.toml, line 4")),
    Command("serve good.py:agent --config dotted.toml", ("runtime.idle", "dotted.toml, line 2")),
    Command("serve good.py:agent --config inline.toml", ("runtime.idle", "inline.toml")),
    Command("serve good.py:agent --config flat.toml", ("group", "runtime.")),
    Command("serve good.py:agent", ("GREENROOM_PROT", "GREENROOM_PORT"), {"GREENROOM_PROT": "1"}),
    Command(
        "serve good.py:agent",
        ("a whole number", "environment variable GREENROOM_PORT"),
        {"GREENROOM_PORT": "many"},
    ),
    Command("serve good.py:agent", ("AUTH_TOKEN", "unset it"), {"AUTH_TOKEN": ""}),
    Command("send localhost:8000 hello", ("http://",)),
    Command(f"send http://127.0.0.1:{BUSY}", ("text",)),
    Command("send http://127.0.0.1:1 hello", ("cannot connect to 127.0.0.1:1",)),
    Command("settings idel", ("did you mean",)),
]


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.arguments or "nothing")
def test_the_command_line_says_what_to_do(
    command: Command,
    busy: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [*os.environ]:
        if name.startswith(("GREENROOM_", "AUTH_")):
            monkeypatch.delenv(name)
    for name, value in command.environment.items():
        monkeypatch.setenv(name, value)
    before = set(sys.modules)
    try:
        code = main(command.arguments.replace(BUSY, str(busy)).split())
    except SystemExit as error:  # as argparse ends the process
        code = error.code  # type: ignore[assignment]
    finally:
        for name in set(sys.modules) - before:
            if name in {path.removesuffix(".py") for path in FILES}:
                del sys.modules[name]
    said = capsys.readouterr()
    assert code in (2, 3), said
    for text in command.texts:
        assert text in said.err
    assert f'File "{os.path.dirname(inspect.getfile(serve))}' not in said.err, "frames of ours"
    assert len(said.err.splitlines()) <= 9, "it is longer than anybody reads"


@pytest.mark.parametrize(
    "arguments", ["--log-level INFO", "--backend ASYNCIO"], ids=["log-level", "backend"]
)
def test_choices_may_be_in_capitals(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    # What is wrong is told after the choices were read.
    assert main(["serve", "good.py:nobody", *arguments.split()]) == 2
    assert "no attribute 'nobody'" in capsys.readouterr().err


# --- the handler API ------------------------------------------------------------------------------


async def good(ctx: TaskContext) -> str:
    return "yes"


def agent(handler: Any = good, **options: Any) -> Agent:
    made = Agent("Good", **options)
    made.handler(handler)
    return made


async def no_context() -> None: ...
async def two_arguments(ctx: TaskContext, more: int) -> None: ...
async def a_text(text: str) -> None: ...
async def a_message(message: Message) -> None: ...
def a_plain_text(text: str) -> None: ...
def yields(ctx: BlockingContext) -> Iterator[str]:
    yield "a"


async def lifespan_that_returns() -> int:
    return 1


def second_handler() -> None:
    agent().handler(good)


def second_skill() -> None:
    made = Agent("Good")
    made.skill("book")(good)
    made.skill("book")(good)


anything: Any = Agent

CALLS: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "no name": (lambda: anything(), ("name",)),
    "an empty name": (lambda: Agent(""), ("Agent('Travel desk')",)),
    "a name of another kind": (lambda: anything(None), ("Agent('Travel desk')", "None")),
    "a slug with blanks": (lambda: Agent("A", slug="My Agent"), ("slug='my-agent'",)),
    "on_interrupt": (lambda: anything("A", on_interrupt="retry"), ("'resume', 'rerun'", "'retry'")),
    "on_mismatch": (lambda: anything("A", on_mismatch="go"), ("'block' or 'fail'", "'go'")),
    "a deadline before now": (lambda: Agent("A", deadline=-1), ("more than 0 seconds",)),
    "a deadline as text": (lambda: anything("A", deadline="1h"), ("number of seconds",)),
    "modes as one text": (lambda: Agent("A", input_modes="text/plain"), ("['text/plain']",)),
    "modes that are none": (lambda: Agent("A", input_modes=["txt"]), ("'text/plain'",)),
    "skills as texts": (lambda: anything("A", skills=["translate"]), ("Skill(id=...",)),
    "skills as one": (
        lambda: anything("A", skills=Skill(id="a", name="a", description="a", tags=["a"])),
        ("[Skill(id=...",),
    ),
    "tags as one text": (lambda: Agent("A").skill("x", tags="travel")(good), ("['travel']",)),
    "scopes as one text": (lambda: Agent("A").skill("x", scopes="read")(good), ("['read']",)),
    "no context": (lambda: agent(no_context), ("async def no_context(ctx: TaskContext)",)),
    "two arguments": (lambda: agent(two_arguments), ("one argument", "'more'")),
    "a text": (lambda: agent(a_text), ("async def a_text(ctx: TaskContext)", "ctx.text")),
    "a message": (lambda: agent(a_message), ("async def a_message(ctx: TaskContext)",)),
    "a plain text": (lambda: agent(a_plain_text), ("def a_plain_text(ctx: BlockingContext)",)),
    "a plain generator": (lambda: agent(yields), ("make it `async def`",)),
    "no function": (lambda: agent("answer"), ("not str", "@agent.handler")),
    "an agent": (lambda: agent(Agent("B")), ("not Agent", "@agent.handler")),
    "a second handler": (second_handler, ("has a handler already", "@agent.skill")),
    "a second skill": (second_skill, ("'book' already", '@agent.skill("other")')),
    "a lifespan that returns": (
        lambda: anything("A").lifespan(lifespan_that_returns),
        ("async generator", "yields them once"),
    ),
    "serve nothing": (lambda: serve(), ("at least one Agent",)),
    "serve a function": (lambda: serve(anything), ("Agent('Name')", "@agent.handler")),
    "serve with a slip": (lambda: serve(agent(), prot=1), ("did you mean port?",)),
    "serve with a wrong value": (lambda: serve(agent(), port="many"), ("argument port",)),
    "serve with settings and more": (
        lambda: serve(agent(), settings=Settings(), port=1),
        ("either settings or",),
    ),
    "serve a name that leads nowhere": (lambda: serve("no_such:agent"), ("no module 'no_such'",)),
    "asgi of a name": (lambda: anything and asgi("a:b"), ("Agent('Name')",)),  # type: ignore[arg-type]
    "asgi at half an address": (
        lambda: asgi(agent(), public_url="example.com"),
        ("https://agents.example.com",),
    ),
    "asgi with a path": (lambda: asgi(agent(), store="a.db"), ("sqlite:///file.db",)),
    "a runtime without a store": (lambda: anything and Runtime(agent()), ("store",)),  # type: ignore[call-arg]
    "a runtime with the URL of a store": (
        lambda: Runtime(agent(), store="memory://"),  # type: ignore[arg-type]
        ("open_store('memory://')",),
    ),
    "a store by its URL": (lambda: SQLiteStore("sqlite:///a.db"), ("path",)),
    "times that are none": (
        lambda: Runtime(agent(), store=MemoryStore(), settings=RuntimeSettings(idle=-1)),
        (">= 0.0 for idle",),
    ),
    "no attempts": (lambda: Retry(attempts=0), ("1 or more",)),
    "run of what a call gives": (lambda: run(good(anything)), ("run(good, ...)",)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_says_what_to_write(name: str) -> None:
    call, texts = CALLS[name]
    with pytest.raises((TypeError, ValueError, Exception)) as raised:
        call()
    for text in texts:
        assert text in str(raised.value)


# --- at work --------------------------------------------------------------------------------------


async def double(number: int) -> int:
    return 2 * number


async def words() -> AsyncGenerator[str, None]:
    yield "a"


async def forgets_await(ctx: Any) -> object:
    return double(1)


async def calls_its_step(ctx: Any) -> object:
    return await ctx.step(double(1))


async def names_its_step(ctx: Any) -> object:
    return await ctx.step("double", 1)


async def asks_by_type(ctx: Any) -> object:
    return await ctx.ask(int)


async def asks_for_what_nobody_can_write(ctx: Any) -> object:
    return await ctx.ask("Which?", Agent)


async def streams_a_coroutine(ctx: Any) -> object:
    return await ctx.stream("words", double)


async def calls_its_stream(ctx: Any) -> object:
    return await ctx.stream("words", words())


async def returns_an_object(ctx: Any) -> object:
    return object()


async def returns_a_class(ctx: Any) -> object:
    return Task


async def sleeps_a_text(ctx: Any) -> object:
    return await ctx.sleep("1h")


async def uses_asyncio_gather(ctx: Any) -> object:
    import asyncio

    return await asyncio.gather(ctx.step(double, 1), ctx.step(double, 2))


async def steps_with_an_object(ctx: Any) -> object:
    return await ctx.step(lambda: object())


WORK: dict[Callable[[Any], Any], tuple[str, ...]] = {
    forgets_await: ("double(...) is a coroutine", "`await`"),
    calls_its_step: ("double, … and not double(…)",),
    names_its_step: ("a function and its arguments, not 'double'",),
    asks_by_type: ("question comes first", "ctx.ask('How many?', int)"),
    asks_for_what_nobody_can_write: ("ask for str, int",),
    streams_a_coroutine: ("`yield`", "ctx.step"),
    calls_its_stream: ("words, … and not words(…)",),
    returns_an_object: ("object cannot be sent", "a dict"),
    returns_a_class: ("the class Task is no value",),
    sleeps_a_text: ("number of seconds",),
    uses_asyncio_gather: ("ctx.gather",),
    steps_with_an_object: ("JSON-able", "dataclasses"),
}


@pytest.mark.parametrize("handler", WORK, ids=lambda handler: handler.__name__)
def test_a_handler_at_work_says_what_to_write(handler: Callable[[Any], Any]) -> None:
    async def send() -> None:
        async with served(agent(handler), raise_errors=True) as client:
            await client.send("hello")

    with pytest.raises(Exception) as raised:  # noqa: PT011
        run(send)
    for text in WORK[handler]:
        assert text in str(raised.value)


# --- what works either way ------------------------------------------------------------------------


def test_decorators_with_and_without_parentheses() -> None:
    made = Agent("Both")

    @made.handler()
    async def handle(ctx: TaskContext) -> str:
        return "handler"

    @made.skill
    async def book_trips(ctx: TaskContext) -> str:
        """Books trips."""
        return "bare"

    @made.skill()
    async def cancel_trips(ctx: TaskContext) -> str:
        return "called"

    @made.skill("change", tags=["trips"])
    async def alter(ctx: TaskContext) -> str:
        return "named"

    skills = made.card([]).skills
    assert skills is not None
    assert [skill.id for skill in skills] == ["book-trips", "cancel-trips", "change"]
    assert skills[0].description == "Books trips."
    assert inspect.iscoroutinefunction(handle)
    assert inspect.iscoroutinefunction(book_trips)
    assert inspect.iscoroutinefunction(cancel_trips)
    assert inspect.iscoroutinefunction(alter)


@pytest.mark.parametrize("plain", [True, False])
def test_contexts_may_be_annotated_or_not(plain: bool) -> None:
    class Mine(TaskContext):
        pass

    async def bare(ctx): ...  # type: ignore[no-untyped-def]
    async def as_object(ctx: object) -> None: ...
    async def as_any(ctx: Any) -> None: ...
    async def as_mine(ctx: Mine) -> None: ...
    async def as_unknown(ctx: "NotImported") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037
    async def as_union(ctx: TaskContext | None) -> None: ...
    def blocking(ctx: BlockingContext) -> None: ...

    for function in (bare, as_object, as_any, as_mine, as_unknown, as_union, blocking):
        agent(function)


def test_groups_of_settings_are_arguments_too() -> None:
    from greenroom.settings.settings import load

    settings = load(overrides={"runtime": RuntimeSettings(idle=7.0), "http": {"max_body": 5}})
    assert settings.runtime.idle == 7.0
    assert settings.http.max_body == 5


def test_an_answer_that_a_pydantic_model_refuses_is_told_every_fault() -> None:
    class Trip(pydantic.BaseModel):
        city: str
        nights: int = pydantic.Field(gt=0)
        guests: list[str]

    async def book(ctx: TaskContext) -> str:
        return (await ctx.ask("Where?", Trip)).city

    async def converse() -> str:
        async with served(agent(book)) as client:
            task = await client.send("hello")
            assert isinstance(task, Task)
            task = await client.reply(task, '{"nights": 0, "guests": "Ada"}')
            assert task.status.message is not None
            return task.status.message.text

    asked_again = run(converse)
    for fault in ("city: Field required", "nights: ", "greater than 0", "guests: ", "valid array"):
        assert fault in asked_again
