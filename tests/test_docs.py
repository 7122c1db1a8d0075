"""The pages say what there is: code runs, commands parse, settings are known, files exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from greenroom import Agent, RuntimeSettings, Task, TaskState, auth, step_info
from greenroom.cli.main import _parser
from greenroom.settings.settings import GROUPS, load, names
from greenroom.testing import LocalClient, run, served
from tests.support.paths import ROOT
from tests.support.servers import as_process

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETTINGS = set(names().values())
COMPLETED = 3
"""The number of the state in the proto file, which is what the SDK's classes print."""
# ``runtime.contexts`` is what a program calls, not a setting
ATTRIBUTES = {"runtime.call", "runtime.contexts", "runtime.results"}


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def text(request: pytest.FixtureRequest) -> str:
    page: Path = request.param
    return page.read_text(encoding="utf-8")


def python_of(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def played(text: str) -> dict[str, Any]:
    """What a page's blocks leave behind, one after the other: each may use those above it."""
    collected: dict[str, Any] = {"__name__": "page"}
    for source in python_of(text):
        exec(compile(source, "page", "exec", dont_inherit=True), collected)
    return collected


def test_python_runs(text: str) -> None:
    blocks = python_of(text)
    if not any("127.0.0.1" in source for source in blocks):
        played(text)
        return
    agent = str(ROOT / "examples" / "echo.py:agent")
    with as_process("--store", "memory://", "--grpc-port", "0", agents=(agent,)) as server:
        for source in blocks:
            source = source.replace("127.0.0.1:50051", server.ready["grpc"])
            source = source.replace("http://127.0.0.1:8000", server.url)
            ran = subprocess.run(
                [sys.executable, "-c", source], capture_output=True, text=True, check=False
            )
            assert ran.returncode == 0, ran.stderr
            assert "COMPLETED" in ran.stdout or ran.stdout.strip() == str(COMPLETED)


def test_the_shop_of_durability_pays_by_one_key_and_gives_up_in_order() -> None:
    class Bank:
        def __init__(self, failures: list[Exception]) -> None:
            self.failures = failures
            self.keys: list[str] = []

        async def charge(self, order: str, cents: int, idempotency_key: str) -> str:
            self.keys.append(idempotency_key)
            assert step_info().attempt == len(self.keys)
            if self.failures:
                raise self.failures.pop(0)
            return f"{order}: {cents} cents"

    page = (ROOT / "docs" / "durability.md").read_text(encoding="utf-8")
    first, second = python_of(page)[:2]
    assert "Books trips" in first
    shop: dict[str, Any] = {"__name__": "shop"}
    exec(compile(second, "page", "exec", dont_inherit=True), shop)
    agent: Agent = shop["agent"]

    async def sell(bank: Bank) -> Task:
        shop["bank"] = bank
        async with served(agent) as client:
            task = await client.send("order-1")
            assert isinstance(task, Task)
            return task

    bank = Bank([ConnectionError("no route")] * 4)
    task = run(sell, bank)
    assert task.artifacts is not None
    assert task.artifacts[0].parts[0].data == {"receipt": "order-1: 4200 cents"}
    assert len(bank.keys) == 5
    assert len(set(bank.keys)) == 1
    for error, times in ((ConnectionError("no route"), 5), (ValueError("no route"), 1)):
        task = run(sell, Bank([error] * times))
        assert task.status.state is TaskState.REJECTED
        assert task.status.message is not None
        assert task.status.message.text == "The bank did not take it: no route"


def test_the_desk_and_the_counter_of_durability_do_what_is_said_of_them() -> None:
    found = played((ROOT / "docs" / "durability.md").read_text(encoding="utf-8"))
    desk, counter = found["desk"], found["counter"]

    async def begun(client: LocalClient, text: str) -> Task:
        task = await client.send(text, wait=False)
        assert isinstance(task, Task)
        return await client.wait(task) if text == "lamp" else task

    async def compare() -> None:
        # Each sweep of the virtual week costs real time: one in 30 s is enough here.
        async with served(desk, settings=RuntimeSettings(sweep_every=30)) as client:
            waiting = await client.reply(await begun(client, "lamp"), "yes")
            assert waiting.status.state is TaskState.AUTH_REQUIRED
            done = await client.reply(waiting, "done")
            assert done.artifacts is not None
            assert done.artifacts[0].text == "lamp for 7"
            assert done.artifacts[1].parts[0].data == 7
            unanswered = await begun(client, "lamp")
            await anyio.sleep(3700)
            assert (await client.get(unanswered)).status.state is TaskState.REJECTED
            slow = await client.reply(await begun(client, "lamp"), "yes")
            await anyio.sleep(7 * 86_400 - 60)
            assert (await client.get(slow)).status.state is TaskState.AUTH_REQUIRED
            await anyio.sleep(120)
            assert (await client.get(slow)).status.state is TaskState.CANCELED

    async def count() -> None:
        async with served(counter) as client:
            task = await begun(client, "begin")
            for _ in range(150):
                await client.send("2", task=task, wait=False)
            done = await client.reply(task, "stop")
            assert done.artifacts is not None
            assert done.artifacts[0].parts[0].data == 300

    run(compare)
    run(count)


def commands(text: str) -> list[list[str]]:
    """Whole command lines: in blocks, and between backticks where they have arguments."""
    lines = re.findall(r"^(?:\$ |    )(greenroom (?:.*\\\n)*.*)", text, flags=re.MULTILINE)
    lines += re.findall(r"`(greenroom [a-z]+ [^`|]*)`", text)
    return [
        shlex.split(line.replace("\\\n", " "), comments=True)
        for line in lines
        if "..." not in line or "grk_..." in line
    ]


def test_commands_parse(text: str) -> None:
    for words in commands(text):
        if words[-1] == "&":
            words.pop()
        if words[-1] not in ("--help", "--version"):
            _parser().parse_args(words[1:])
        else:
            with pytest.raises(SystemExit) as left:
                _parser().parse_args(words[1:])
            assert left.value.code == 0


def test_settings_exist(text: str) -> None:
    groups = "|".join(GROUPS)
    for name in re.findall(rf"`(?:--set )?((?:{groups})\.(?!py\b)\w+)", text):
        assert name in SETTINGS | ATTRIBUTES, name
    for words in commands(text):
        for flag, value in pairwise(words):
            if flag == "--set":
                assert value.partition("=")[0] in SETTINGS, value


def test_settings_files_load(text: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    blocks += [
        textwrap.dedent(block)
        for block in re.findall(r"(?:^    .*\n|^\n)+", text, flags=re.MULTILINE)
        if block.strip().startswith("[greenroom")
    ]
    for block in blocks:
        tomllib.loads(block)
        path = tmp_path / "greenroom.toml"
        path.write_text(block)
        load(config=str(path))


def test_files_targets_and_names_exist(text: str) -> None:
    folders = "src|protocol|runtime|transports|stores|tests|bench|docs|examples"
    for path in re.findall(rf"[`(]((?:{folders})/[\w./-]*\w)[`)]", text):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)", text):
        assert f"\n{target}:" in makefile, target
    for name in re.findall(r"`greenroom\.auth\.(\w+)`", text):
        assert hasattr(auth, name), name
    extras: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"greenroom\[(\w+)\]", text):
        assert extra in extras["optional-dependencies"], extra
