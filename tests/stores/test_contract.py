"""Every store keeps every clause of the port, on every event loop it works on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from greenroom.runtime.journal.store import Store
from greenroom.stores.contract import CLAUSES, DURABLE_CLAUSES, Clause
from greenroom.stores.memory import MemoryStore
from greenroom.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda folder: SQLiteStore(folder / "tasks.db", durability="relaxed"),
    "sqlite-strict": lambda folder: SQLiteStore(folder / "tasks.db"),
}
CASES = [(name, clause) for name in STORES for clause in CLAUSES] + [
    (name, clause) for name in STORES for clause in DURABLE_CLAUSES
]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("name", "clause"), CASES, ids=[f"{name}-{clause.__name__}" for name, clause in CASES]
)
async def test_clause(name: str, clause: Clause, tmp_path: Path) -> None:
    if clause in DURABLE_CLAUSES and name == "memory":
        kept = MemoryStore()  # its place is the object
        await clause(lambda: kept)
    else:
        await clause(lambda: STORES[name](tmp_path))
