"""Which worker of pytest-xdist runs which file of tests.

The tests of a file stay together: they share servers. The files of ``HEAVY`` stay together too, one
after the other in one worker: they kill processes, hold a crowd of readers, or measure what a load
does to others, and two of them at once would leave each other no processor. They come first, so
that the other worker has the rest of the suite to run meanwhile.
"""

from __future__ import annotations

from typing import Any

import pytest

HEAVY = (
    "tests/faults/",
    "tests/conformance/test_storm.py",
    "tests/conformance/test_thousand_readers.py",
)


def is_heavy(nodeid: str) -> bool:
    return nodeid.startswith(HEAVY)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Make the scheduler of ``--dist loadfile``; None, xdist's own, for every other choice."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # only where xdist is installed and in use

    class HeavyTogether(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            return "heavy" if is_heavy(nodeid) else super()._split_scope(nodeid)

    return HeavyTogether(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not is_heavy(item.nodeid))  # stable
