"""The rules of the suite: skipped tests, heavy files, and what all workers need."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.once import made_once
from tests.support.paths import ROOT

SKIPPED_TEST = """
import pytest

def test_passes(): pass

@pytest.mark.skip
def test_is_skipped(): pass
"""
SKIPPED_FILE = """
import pytest

pytest.skip("not here", allow_module_level=True)
"""
PASSES = "def test_passes(): pass\n"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on the files in ``folder`` with the suite's plug-ins and without its settings."""
    plugins = ["-p", "tests.support.no_skips", "-p", "tests.support.schedule"]
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", str(folder)]
    return subprocess.run(
        [*command, *plugins, *arguments, str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist", "loadfile")], ids=["one", "two"])
def test_what_is_skipped_fails_the_run(workers: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(SKIPPED_TEST)
    (tmp_path / "test_two.py").write_text(SKIPPED_FILE)
    (tmp_path / "test_three.py").write_text(PASSES)
    done = run(tmp_path, "--no-skips", *workers)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    _, _, listed = done.stdout.partition("skipped tests fail this run")
    assert "test_one.py::test_is_skipped" in listed
    assert "test_two.py" in listed
    assert "test_three.py" not in listed
    assert listed.splitlines()[-1].startswith("="), "the closing line is pytest's own"


def test_without_the_option_a_skipped_test_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(SKIPPED_TEST)
    assert run(tmp_path).returncode == pytest.ExitCode.OK


def test_heavy_files_are_run_by_one_worker(tmp_path: Path) -> None:
    source = """
import os

def test_one(): print("worker of", {name!r}, os.environ["PYTEST_XDIST_WORKER"])
def test_two(): pass
def test_three(): pass
"""
    heavy = ["tests/faults/test_a.py", "tests/faults/test_b.py", "tests/conformance/test_storm.py"]
    for name in [*heavy, "tests/test_light.py"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.format(name=name))
    modes = ["-n", "2", "--dist", "loadfile", "--import-mode=importlib", "-rP"]
    done = run(tmp_path, *modes)
    said = [line.split() for line in done.stdout.splitlines() if line.startswith("worker of")]
    workers = {name: worker for _, _, name, worker in said}
    assert len(workers) == 4, done.stdout
    assert len({workers[name] for name in heavy}) == 1
    assert workers["tests/test_light.py"] != workers[heavy[0]]


def test_what_many_ask_for_at_once_is_made_once(tmp_path: Path) -> None:
    mark, lock = tmp_path / "folder" / "mark", tmp_path / "lock"
    made: list[bool] = []
    asking = threading.Barrier(4)

    def make() -> None:
        made.append(mark.exists())
        mark.parent.mkdir(exist_ok=True)

    def ask() -> None:
        asking.wait()
        made_once(mark, lock, make)
        assert mark.exists()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [False]


def test_after_a_failed_attempt_the_next_one_makes(tmp_path: Path) -> None:
    mark, lock = tmp_path / "mark", tmp_path / "lock"

    def fail() -> None:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        made_once(mark, lock, fail)
    assert not mark.exists()
    made_once(mark, lock, lambda: None)
    assert mark.exists()
