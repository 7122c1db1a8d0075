"""Which configuration has its turn: one delivery of each at once, few for one host, some in all.

A *line* is a configuration that may have something to be delivered. Lines of one host wait for
each other, lines of different hosts do not: hosts with room take turns.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import anyio

from ..call import TaskScope
from ..journal.entries import PushRow


class Key(NamedTuple):
    """Names a configuration."""

    scope: TaskScope
    task_id: str
    id: str

    @classmethod
    def of(cls, row: PushRow) -> Key:
        return cls(row.scope, row.task_id, row.id)


class Line:
    """A configuration that waits for its turn or has it."""

    __slots__ = ("again", "cancel_scope", "host", "key")

    def __init__(self, key: Key, host: Host) -> None:
        self.key = key
        self.host = host
        self.again = False
        """It was offered while it had its turn: there may be more."""
        self.cancel_scope: anyio.CancelScope | None = None
        """Set while it has its turn."""


class Host:
    """The lines that deliver to one host."""

    __slots__ = ("listed", "running", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Line] = deque()
        self.running = 0
        self.listed = False


class Queue:
    """All lines. Nothing here waits."""

    def __init__(self, *, per_host: int, in_all: int) -> None:
        self._per_host = per_host
        self._in_all = in_all
        self._lines: dict[Key, Line] = {}
        self._hosts: dict[str, Host] = {}
        self._ready: deque[Host] = deque()
        """Hosts with a line that waits and room for it."""
        self.running = 0

    def __len__(self) -> int:
        return len(self._lines)

    def offer(self, key: Key, origin: str) -> None:
        """Have a configuration looked at; one that has its turn is looked at again after it."""
        line = self._lines.get(key)
        if line is not None:
            line.again = True
            return
        host = self._hosts.setdefault(origin, Host())
        self._add(Line(key, host))

    def drop(self, key: Key) -> None:
        """End a delivery under way: its configuration is gone."""
        line = self._lines.get(key)
        if line is not None and line.cancel_scope is not None:
            line.cancel_scope.cancel()

    def take(self) -> Line | None:
        """Return a line that has its turn now, ``None`` if none has. End it with ``done``."""
        if not self._ready or self.running >= self._in_all:
            return None
        host = self._ready.popleft()
        host.listed = False
        line = host.waiting.popleft()
        line.again = False
        host.running += 1
        self.running += 1
        self._list(host)
        return line

    def done(self, line: Line, *, more: bool = False) -> None:
        """A turn is over; ``more``: the line goes to the end of its host's."""
        host = line.host
        host.running -= 1
        self.running -= 1
        line.cancel_scope = None
        del self._lines[line.key]
        if more or line.again:
            self._add(line)
        else:
            self._list(host)

    def forget_idle_hosts(self) -> None:
        """Let go of hosts that nothing is delivered to."""
        self._hosts = {
            name: host for name, host in self._hosts.items() if host.running or host.waiting
        }

    def _add(self, line: Line) -> None:
        self._lines[line.key] = line
        line.host.waiting.append(line)
        self._list(line.host)

    def _list(self, host: Host) -> None:
        if host.waiting and host.running < self._per_host and not host.listed:
            host.listed = True
            self._ready.append(host)
