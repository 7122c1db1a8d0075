"""Random handlers do the same with every fault that there is as without one."""

from __future__ import annotations

import anyio
import pytest

from greenroom.testing import virtual_time

from .differential import Report, compare

FEW, MANY, CHUNK = 100, 5_000, 50


def compare_all(seeds: range, stride: int) -> Report:
    """Play the programs of ``seeds``, one of ``stride`` commits a crash; asyncio and trio take
    turns."""
    report = Report()
    for seed in seeds:
        name, options = virtual_time("trio" if seed % 2 else "asyncio")
        anyio.run(
            compare, seed, report, lambda count, at=seed % stride: range(at, count, stride),
            backend=name, backend_options=dict(options),
        )  # fmt: skip
    return report


@pytest.mark.parametrize("first", range(0, FEW, CHUNK))
def test_a_hundred_programs_do_the_same_after_a_fault(first: int) -> None:
    report = compare_all(range(first, first + CHUNK), stride=8)
    assert report.differences == []
    assert report.crashes


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, MANY, CHUNK))
def test_thousands_of_programs_do_the_same_after_every_fault(first: int) -> None:
    report = compare_all(range(first, first + CHUNK), stride=1)
    assert report.differences == []
    assert report.crashes
