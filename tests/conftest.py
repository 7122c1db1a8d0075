"""Rules for the whole suite."""

from __future__ import annotations

import pytest

from tests.e2e.process import interpreters


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips", action="store_true", help="a test that was skipped fails the whole run"
    )


class NoSkips:
    """A skipped test proves nothing: in CI it is an error."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus in (pytest.ExitCode.OK, 0):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.skipped:
            terminalreporter.section("skipped tests fail this run (--no-skips)", red=True)
            for nodeid in self.skipped:
                terminalreporter.line(nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if interpreters.cache_info().currsize:
        for version in (name for name, path in interpreters().items() if path is None):
            terminalreporter.line(
                f"no server was tried on Python {version}: there is neither an environment "
                f".venv-{version} here nor a python{version} with what a server needs"
            )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--no-skips"):
        config.pluginmanager.register(NoSkips())
