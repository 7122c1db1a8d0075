"""The test kit: errors as they are, time that costs nothing, callers, and the pytest plugin."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from greenroom import Agent, Message, Principal, Task, TaskContext, TaskState
from greenroom.auth import Policy, Security, static_tokens
from greenroom.protocol.errors import PermissionDeniedError, TaskNotFoundError, UnauthenticatedError
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.stores.memory.store import MemoryStore
from greenroom.testing import served, virtual_time

pytestmark = pytest.mark.anyio
WEEK = 7 * 86_400.0

agent = Agent("Kit", "For the tests of the test kit.")


@agent.handler
async def act(ctx: TaskContext) -> str:
    match ctx.text.split():
        case ["sleep", seconds]:
            await anyio.sleep(float(seconds))
        case ["nap", seconds]:
            await ctx.sleep(float(seconds))
        case ["fail"]:
            raise LookupError("no such flight")
        case ["who"]:
            assert ctx.principal is not None
            return ctx.principal.owner
        case ["ask"]:
            return await ctx.ask("Who?")
    return "done"


direct = Agent("Direct", "Answers with messages.")


@direct.handler
async def act_directly(ctx: TaskContext) -> Message:
    raise LookupError("no such message")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_time(request.param)


class Watched(MemoryStore):
    """Counts what the runtime asks of its store."""

    asked = 0

    def _check(self) -> None:
        self.asked += 1
        super()._check()


@pytest.mark.parametrize("text", ["sleep", "nap"])
async def test_a_week_costs_no_more_than_what_is_due_in_it(text: str) -> None:
    store = Watched()
    async with served(agent, store=store) as client:
        began = anyio.current_time()
        task = await client.send(f"{text} {WEEK}")
        assert isinstance(task, Task)
        assert task.status.state is TaskState.COMPLETED
        assert WEEK <= anyio.current_time() - began < WEEK + 2
    assert store.asked < 10_000


async def test_a_week_in_which_nothing_happens_asks_little_of_the_store() -> None:
    store = Watched()
    async with served(agent, store=store):
        await anyio.sleep(WEEK)
    assert store.asked < 10_000


async def test_a_task_that_left_memory_goes_on_when_it_is_due() -> None:
    async with served(agent) as client:
        task = await client.send(f"nap {WEEK}", wait=False)
        assert isinstance(task, Task)
        await anyio.sleep(WEEK - 10)
        assert client.runtime.statistics()["actors"] == 0
        await anyio.sleep(12)
        assert (await client.get(task)).status.state is TaskState.COMPLETED


async def test_finished_tasks_go_when_their_time_is_over() -> None:
    settings = RuntimeSettings(task_retention=86_400.0)
    async with served(agent, settings=settings) as client:
        task = await client.send("hello")
        assert isinstance(task, Task)
        await anyio.sleep(86_000)
        assert (await client.get(task)).status.state is TaskState.COMPLETED
        await anyio.sleep(86_400 / 64 + 500)
        with pytest.raises(TaskNotFoundError):
            await client.get(task)


async def test_a_question_that_nobody_answers_for_a_week_still_takes_its_answer() -> None:
    async with served(agent) as client:
        task = await client.send("ask")
        await anyio.sleep(WEEK)
        assert client.runtime.statistics()["actors"] == 0
        assert isinstance(task, Task)
        assert (await client.reply(task, "Ada")).artifacts[0].text == "Ada"  # type: ignore[index]


async def _fail(error: BaseException) -> None:
    async with served(agent) as client:
        await client.send("hello")
        raise error


@pytest.mark.parametrize("error", [KeyError("mine"), SystemExit(3), pytest.fail.Exception("mine")])
async def test_what_the_block_raises_comes_out_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        await _fail(error)
    assert raised.value is error


async def test_the_error_of_a_handler_is_raised_if_wanted() -> None:
    async with served(agent, raise_errors=True) as client:
        with pytest.raises(LookupError, match="no such flight"):
            await client.send("fail")
        task = await client.send("hello")
        assert isinstance(task, Task)
    async with served(agent) as client:
        task = await client.send("fail")
        assert isinstance(task, Task)
        assert task.status.state is TaskState.FAILED


async def test_the_error_of_a_direct_answer_is_raised_if_wanted() -> None:
    async with served(direct, raise_errors=True) as client:
        with pytest.raises(LookupError, match="no such message"):
            await client.send("hello")


async def test_callers_are_who_the_test_says() -> None:
    ada = Principal(owner="ada", scopes=frozenset({"talk"}))
    async with served(agent, principal=ada) as client:
        task = await client.send("who")
        assert isinstance(task, Task)
        assert task.artifacts is not None
        assert task.artifacts[0].text == "ada"
        with pytest.raises(TaskNotFoundError):
            await client.acting("bob").get(task)
        assert await client.acting("ada").get(task)


async def test_security_holds_for_callers_of_the_test() -> None:
    security = Security(
        static_tokens({"ada": "secret-of-ada-0123456789"}), policy=Policy(agents={"kit": ["talk"]})
    )
    async with served(agent, security=security) as client:
        with pytest.raises(UnauthenticatedError):
            await client.send("who")
        with pytest.raises(PermissionDeniedError):
            await client.acting("bob").send("who")
        bob = client.acting(Principal(owner="bob", scopes=frozenset({"talk"})))
        assert isinstance(await bob.send("who"), Task)


async def test_a_caller_with_a_credential_is_let_in() -> None:
    security = Security(static_tokens({"ada": "secret-of-ada-0123456789"}))
    headers = {"Authorization": "Bearer secret-of-ada-0123456789"}
    async with served(agent, security=security, headers=headers) as client:
        task = await client.send(f"nap {WEEK}")
        assert isinstance(task, Task)
        assert task.status.state is TaskState.COMPLETED


async def test_nothing_is_said_of_anonymous_callers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with served(agent) as client:
        await client.send("hello")
    assert not [record for record in caplog.records if "anonymous" in record.getMessage()]


# --- the plugin -----------------------------------------------------------------------------------

USER_TEST = """
import anyio
import pytest
from greenroom import Agent, Task, TaskContext

agent = Agent("Mine")

@agent.handler
async def act(ctx: TaskContext) -> str:
    if ctx.text == "fail":
        raise LookupError("no such flight")
    await ctx.sleep(604800)
    return ctx.principal.owner

pytestmark = [pytest.mark.anyio, pytest.mark.greenroom(agent, raise_errors=True)]

async def test_a_week(greenroom_client) -> None:
    task = await greenroom_client.acting("ada").send("hello")
    assert task.artifacts[0].text == "ada"
    assert anyio.current_time() >= 604800

async def test_an_error(greenroom_client) -> None:
    with pytest.raises(LookupError):
        await greenroom_client.send("fail")
"""

NO_MARKER = """
import pytest

@pytest.mark.anyio
async def test_nothing_is_served(greenroom_client) -> None:
    pass
"""

BYSTANDER = """
import sys

def test_it_is_not_loaded() -> None:
    assert "pytest_greenroom" in sys.modules
    assert "greenroom" not in sys.modules
"""


def pytest_run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_user.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider",
         "-W", "error", "test_user.py"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def no_backend() -> None:
    """For tests that run no event loop here."""


class TestPlugin:
    """In processes of their own, as users run pytest."""

    pytestmark = pytest.mark.usefixtures("no_backend")

    def test_the_marker_serves_agents_in_virtual_time(self, tmp_path: Path) -> None:
        done = pytest_run(tmp_path, USER_TEST)
        assert done.returncode == 0, done.stdout
        assert "2 passed" in done.stdout

    def test_a_fixture_without_an_agent_says_what_to_write(self, tmp_path: Path) -> None:
        done = pytest_run(tmp_path, NO_MARKER)
        assert "@pytest.mark.greenroom(agent)" in done.stdout

    def test_who_does_not_use_it_does_not_load_greenroom(self, tmp_path: Path) -> None:
        done = pytest_run(tmp_path, BYSTANDER)
        assert done.returncode == 0, done.stdout
