"""The audit record as a file: lines of JSON, written by a thread of their own."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from threading import Condition, Thread

import msgspec

from ..runtime import files
from ..runtime.printable import printable_json
from ..runtime.security.audit import AuditEntry

log = logging.getLogger("greenroom.audit")
_encode = msgspec.json.Encoder().encode
GATHER = 0.05
"""Seconds for which lines are gathered before they are written together."""
RETRY = 1.0
"""Seconds until a write that failed is tried again."""
CLOSE = 5.0
"""Seconds that ``close`` gives the last lines."""


class FileAudit:
    """One JSON object a line, appended in the order of ``record``.

    A line is written within a tenth of a second, and before an orderly stop is over; a killed
    process loses what is younger than that. It is not fsynced: what the system has not written yet
    goes with the machine. Rotate the file by renaming it: the next lines go to a new one.

    What cannot be written (a full disk) waits in memory, up to ``pending`` bytes, and is tried
    again every second; beyond that entries are ``lost``: counted, and the file says how many where
    they are missing. A line that was cut off is written again, whole.
    """

    def __init__(self, path: str | Path, *, pending: int = 16 * 1024 * 1024) -> None:
        """Raises OSError for a file that cannot be opened."""
        self.path = Path(path)
        self.lost = 0
        self._told = 0
        self._descriptor: int | None = self._open()
        self._pending = pending
        self._lines: list[bytes] = []
        self._size = 0  # of what is recorded and not written
        self._last = 0.0
        self._broken = self._closing = False
        self._changed = Condition()
        self._writer: Thread | None = None

    def record(self, entry: AuditEntry) -> None:
        """Take a line; it is written soon."""
        line = printable_json(_encode(entry).decode()).encode() + b"\n"
        with self._changed:
            self._last = entry.time
            if self._size + len(line) > self._pending:
                self.lost += 1
                return
            self._lines.append(line)
            self._size += len(line)
            if self._writer is None:
                self._closing = False
                self._writer = Thread(target=self._write_on, name="audit", daemon=True)
                self._writer.start()
            elif len(self._lines) == 1:
                self._changed.notify_all()

    def close(self) -> None:
        """Write what is left and let go of the file; another record opens it again."""
        writer = self._writer
        if writer is not None:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            writer.join(CLOSE)
            if writer.is_alive():
                log.error("the audit file %s takes nothing; its last lines may be lost", self.path)
                return
            self._writer = None
        self._release()

    # --- the writer's thread --------------------------------------------------------------------

    def _write_on(self) -> None:
        rest = b""
        while True:
            with self._changed:
                if rest:
                    self._changed.wait_for(lambda: self._closing, RETRY)
                else:
                    self._changed.wait_for(lambda: self._closing or bool(self._lines))
                    self._changed.wait_for(lambda: self._closing, GATHER)
                closing = self._closing
                lines, self._lines = self._lines, []
            data = rest + b"".join(lines)
            was_broken = self._broken
            rest = self._write(data)
            with self._changed:
                self._size -= len(data) - len(rest)
                if not rest and self.lost > self._told:
                    rest = self._gap()
                    self._size += len(rest)
            if was_broken and not self._broken:  # and there is room for new lines
                log.warning("the audit file %s is written again; %d lost", self.path, self.lost)
            if not closing:
                continue
            rest = self._write(rest) if rest and not self._broken else rest
            with self._changed:
                self.lost += rest.count(b"\n")
                self._size = 0
                return

    def _write(self, data: bytes) -> bytes:
        """Append ``data``; return what is still to be written."""
        done = 0
        try:
            descriptor = self._current()
            with memoryview(data) as view:
                while done < len(data):
                    done += os.write(descriptor, view[done:])
        except OSError as error:
            if not self._broken:
                log.error("the audit file %s cannot be written: %s", self.path, error)
            self._broken = True
            line = data.rfind(b"\n", 0, done) + 1
            return (b"\n" if line < done else b"") + data[line:]
        self._broken = False
        return b""

    def _gap(self) -> bytes:
        """What the file says where entries are missing."""
        missing, self._told = self.lost - self._told, self.lost
        entry = AuditEntry(time=self._last, action="Audit", outcome="LOST", more=missing)
        return _encode(entry) + b"\n"

    def _current(self) -> int:
        """Return the file of that name, which is another one after a rotation."""
        if self._descriptor is not None:
            try:
                there, held = self.path.stat(), os.fstat(self._descriptor)
                if (there.st_ino, there.st_dev) == (held.st_ino, held.st_dev):
                    return self._descriptor
            except FileNotFoundError:
                pass
            self._release()
        self._descriptor = self._open()
        return self._descriptor

    def _open(self) -> int:
        return files.open_log(self.path)

    def _release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
