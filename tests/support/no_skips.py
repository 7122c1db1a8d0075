"""``--no-skips``: a test that was skipped proves nothing, so it fails the whole run.

pytest-xdist tells its controller of every test, but not of files that were skipped while they were
collected: each worker sends those at its end.
"""

from __future__ import annotations

from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips", action="store_true", help="a test that was skipped fails the whole run"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--no-skips"):
        config.pluginmanager.register(NoSkips(config))


class NoSkips:
    """Remembers what was skipped, in the process that runs tests and in the one that reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.skipped: list[str] = []
        self._of_worker: dict[str, Any] | None = getattr(config, "workeroutput", None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)
            if self._of_worker is not None:
                self._of_worker.setdefault("skipped_files", []).append(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        files = getattr(node, "workeroutput", {}).get("skipped_files", [])
        self.skipped += [name for name in files if name not in self.skipped]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus in (pytest.ExitCode.OK, 0):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.skipped:
            terminalreporter.section("skipped tests fail this run (--no-skips)", red=True)
            for nodeid in self.skipped:
                terminalreporter.line(nodeid)
