"""Rules for the whole suite."""

from __future__ import annotations

import pytest

from tests.support.interpreters import interpreters

# The clauses of the contract say what differed, as tests do; before any test imports them.
pytest.register_assert_rewrite("greenroom.stores.contract")

pytest_plugins = ["tests.support.no_skips", "tests.support.schedule"]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the versions of Python on which no server ran."""
    spread = config.getoption("dist", "no") != "no"  # then workers collected, not this process
    if spread or interpreters.cache_info().currsize:
        for version in (name for name, path in interpreters().items() if path is None):
            terminalreporter.line(
                f"no server was tried on Python {version}: there is neither an environment "
                f".venv-{version} here nor a python{version} with what a server needs"
            )
