"""What is published: an sdist that builds, installs and runs, and a wheel with every module.

Nothing here asks a package index: what the builds need is installed beside the tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.paths import ROOT

FOLDERS = ("protocol", "runtime", "stores", "transports")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
OFFLINE = os.environ | {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # 0: not isolated


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env or {**OFFLINE}, check=False, timeout=110,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(what: str, source: Path, to: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", what, "-d", to, cwd=source)
    [made] = to.iterdir()
    return made


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture
def unpacked(sdist: Path, tmp_path: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [folder] = tmp_path.iterdir()
    return folder


def test_the_sdist_has_every_file_of_its_folders(unpacked: Path) -> None:
    for folder in (*FOLDERS, "tests", "bench", "docs", "examples", ".ci"):
        assert files(unpacked / folder) == files(ROOT / folder)
    own = {name for name in files(ROOT / "src" / "greenroom") if name.split("/")[0] not in FOLDERS}
    assert files(unpacked / "src" / "greenroom") == own
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"):
        assert (unpacked / name).is_file()


def test_a_wheel_made_from_the_sdist_has_every_module(unpacked: Path, tmp_path: Path) -> None:
    with ZipFile(build("wheel", unpacked, tmp_path / "wheel")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {f"greenroom/{name}" for name in files(unpacked / "src" / "greenroom")}
    for folder in FOLDERS:
        expected |= {f"greenroom/{folder}/{name}" for name in files(unpacked / folder)}
    assert names == {*expected, "pytest_greenroom.py"}


def test_every_module_of_the_wheel_can_be_imported(sdist: Path, tmp_path: Path) -> None:
    """``pip`` takes the wheel; the command and every module work, and none from the checkout."""
    wheel = build("wheel", ROOT, tmp_path / "wheel")
    target = tmp_path / "installed"
    run(*PIP, "install", "--no-deps", "--target", target, wheel, cwd=tmp_path)
    script = """
import importlib, pkgutil, greenroom
names = [found.name for found in pkgutil.walk_packages(greenroom.__path__, "greenroom.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(greenroom.__file__, len(names))
"""
    environ = {**OFFLINE, "PYTHONPATH": str(target)}
    said, count = run(sys.executable, "-P", "-c", script, cwd=tmp_path, env=environ).split()
    assert Path(said) == target / "greenroom" / "__init__.py"
    assert int(count) > 200
    version = run(sys.executable, "-P", "-m", "greenroom", "--version", cwd=tmp_path, env=environ)
    assert version.startswith("greenroom ")


def test_the_first_agent_works_without_any_extra(tmp_path: Path) -> None:
    """In a process in which no package of an extra can be imported."""
    script = """
import sys
for name in ("opentelemetry", "betterproto2", "jwt", "cryptography", "pydantic", "trio", "uvloop"):
    sys.modules[name] = None
import greenroom.cli.main
from greenroom import Agent, TaskContext
from greenroom.testing import run, served
agent = Agent("Echo", "Says it back.")
@agent.handler
async def echo(ctx: TaskContext) -> str:
    return f"You said: {ctx.text}"
async def main():
    async with served(agent) as client:
        print((await client.send("hello")).artifacts[0].parts[0].text)
run(main)
greenroom.cli.main.main(["settings", "port"])
"""
    (tmp_path / "first.py").write_text(script, encoding="utf-8")
    said = run(sys.executable, "first.py", cwd=tmp_path)
    assert "You said: hello" in said


def test_pyroma_finds_nothing_to_wish_for(unpacked: Path) -> None:
    assert "Final rating: 10/10" in run(sys.executable, "-m", "pyroma", unpacked, cwd=unpacked)


def test_the_page_on_pypi_has_absolute_links_only(unpacked: Path) -> None:
    text = (unpacked / "PKG-INFO").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 10
    for target in targets:
        assert target.startswith("https://"), target
    for label in ("Homepage", "Source", "Issues", "Changelog", "Documentation"):
        assert f"Project-URL: {label}, https://" in text


def test_pip_installs_the_sdist(sdist: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    run(*PIP, "install", "--no-deps", "--target", target, sdist, cwd=tmp_path)
    script = "import greenroom, greenroom.runtime; print(greenroom.runtime.__file__)"
    environ = {**OFFLINE, "PYTHONPATH": str(target)}
    said = run(sys.executable, "-P", "-c", script, cwd=tmp_path, env=environ)
    assert Path(said.strip()) == target / "greenroom" / "runtime" / "__init__.py"


def test_make_demo_works_where_the_sdist_was_unpacked(unpacked: Path) -> None:
    """``make demo`` finds a new environment that sees the dependencies installed here."""
    home = unpacked / ".venv"
    venv.create(home, with_pip=True)
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environ = {name: value for name, value in OFFLINE.items() if name != "PYTHONPATH"}
    said = run("make", "demo", f"PYTHON={sys.executable}", cwd=unpacked, env=environ)
    assert "listening on http://" in said
    assert "The server has stopped" in said
    for folder in FOLDERS:
        assert (unpacked / "src" / "greenroom" / folder).resolve() == unpacked / folder
