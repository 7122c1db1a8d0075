"""The README does what it says: every Python block runs, every command is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from greenroom.cli.main import _parser
from greenroom.settings.settings import load
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def test_every_python_block_runs_in_order() -> None:
    namespace: dict[str, object] = {"__name__": "readme"}
    for source in blocks("python"):
        # each block begins a file of its own, but for what it uses of the one above
        exec(compile(source, "README.md", "exec", dont_inherit=True), namespace)
    assert len(blocks("python")) == 3


def test_the_hello_world_is_short_and_says_what_is_printed() -> None:
    from greenroom import Agent, Task
    from greenroom.testing import run, served

    source = blocks("python")[0]
    assert len([line for line in source.splitlines() if line.strip()]) <= 10
    namespace: dict[str, object] = {"__name__": "echo"}
    exec(compile(source, "README.md", "exec", dont_inherit=True), namespace)
    agent = namespace["agent"]
    assert isinstance(agent, Agent)

    async def hello() -> str:
        async with served(agent) as client:
            task = await client.send("hello")
            assert isinstance(task, Task)
            assert task.artifacts is not None
            return task.artifacts[0].text

    assert run(hello) + "\n" in blocks("console")[0]


def test_the_settings_file_is_valid(tmp_path: Path) -> None:
    (source,) = blocks("toml")
    path = tmp_path / "greenroom.toml"
    path.write_text(source)
    settings = load(config=str(path))
    assert settings.runtime.idle == tomllib.loads(source)["greenroom"]["runtime"]["idle"]


def test_the_commands_exist() -> None:
    for line in blocks("console")[0].splitlines():
        if line.startswith("$ greenroom"):
            words = line.removesuffix(" &").replace('"', "").split()[2:]
            assert _parser().parse_args(words).command in ("serve", "send")
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)`", README):
        assert f"\n{target}:" in makefile


def test_it_is_short_and_its_links_lead_somewhere() -> None:
    assert len([line for line in README.splitlines() if line]) <= 120
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
