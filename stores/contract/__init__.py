"""The contract of ``Store`` as a suite that any implementation can run.

Each clause is ``async def check_…(make: MakeStore)`` and fails with ``AssertionError``. ``make``
gives a store that was not opened yet; within one clause every call means the same place, between
clauses never. ``CLAUSES`` hold for every store, ``DURABLE_CLAUSES`` for those that outlive
``close``.
"""

from . import appends, contexts, durability, listing, ownership, pushes, reading, timekeeping
from .fixtures import Clause, MakeStore


def _clauses(*modules: object) -> tuple[Clause, ...]:
    return tuple(
        clause
        for module in modules
        for name, clause in vars(module).items()
        if name.startswith("check_")
    )


CLAUSES = _clauses(appends, reading, listing, contexts, ownership, timekeeping, pushes)
DURABLE_CLAUSES = _clauses(durability)

__all__ = ["CLAUSES", "DURABLE_CLAUSES", "Clause", "MakeStore"]
