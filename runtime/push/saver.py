"""Cursors are committed together: while one commit runs, the next one gathers (as the journal)."""

from __future__ import annotations

from ..concurrency.signal import Signal
from ..journal.entries import PushRow
from ..journal.store import Push, StoreError


class Saver:
    """The one writer of the cursors of a runtime."""

    def __init__(self, rows: Push) -> None:
        self._rows = rows
        self._waiting: list[_Save] = []
        self._signal = Signal()

    async def save(self, row: PushRow) -> bool:
        """Commit a row; ``False``: it was changed meanwhile, or is gone. Raises StoreError."""
        mine = _Save(row)
        self._waiting.append(mine)
        self._signal.notify()
        while mine.result is None:
            await mine.signal.wait()
        if isinstance(mine.result, Exception):
            raise mine.result
        return mine.result

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            if not self._waiting:
                await self._signal.wait()
                continue
            batch, self._waiting = self._waiting, []
            results: list[bool | Exception]
            try:
                results = list(await self._rows.save_pushes([save.row for save in batch]))
            except Exception as error:
                told = error if isinstance(error, StoreError) else StoreError(str(error))
                results = [told] * len(batch)
            for save, result in zip(batch, results, strict=True):
                save.result = result
                save.signal.notify()


class _Save:
    __slots__ = ("result", "row", "signal")

    def __init__(self, row: PushRow) -> None:
        self.row = row
        self.result: bool | Exception | None = None
        self.signal = Signal()
