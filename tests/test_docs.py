"""The pages say what there is: commands parse, settings are known, files and targets exist."""

from __future__ import annotations

import re
import shlex
import textwrap
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from greenroom import auth
from greenroom.cli import _parser
from greenroom.settings import GROUPS, load, names

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETTINGS = set(names().values())
# ``runtime.contexts`` is what a program calls, not a setting
ATTRIBUTES = {"runtime.call", "runtime.contexts", "runtime.results"}


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def text(request: pytest.FixtureRequest) -> str:
    page: Path = request.param
    return page.read_text(encoding="utf-8")


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
