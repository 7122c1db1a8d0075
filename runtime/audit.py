"""Who did what: an append-only record, to a sink of your choice."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from ..protocol.errors import A2AError
from ..protocol.operations import Operation
from ..protocol.types import SendMessageRequest, SendMessageResponse, Task
from .call import Call

log = logging.getLogger("greenroom.audit")
_encode = msgspec.json.Encoder().encode


class AuditEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. ``action`` is an operation's name or ``Authenticate``; ``outcome`` is ``ok`` or
    the reason of the error. Content, credentials and claims are not in it.
    """

    time: float
    action: str
    outcome: str
    owner: str = ""
    tenant: str = ""
    scheme: str = ""
    agent: str = ""
    task: str = ""
    context: str = ""
    address: str = ""
    binding: str = ""
    version: str = ""
    detail: str = ""


class AuditSink(Protocol):
    """Where entries go. Called from the event loop: ``record`` must not block or raise."""

    def record(self, entry: AuditEntry) -> None: ...

    def close(self) -> None: ...


class FileAudit:
    """One JSON object a line, each written with one append, so that processes may share the file
    and a killed one loses nothing. Rotate it by renaming: a file that is gone is made anew.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._descriptor: int | None = self._open()
        self._lines = 0
        self._broken = False

    def _open(self) -> int:
        return os.open(self.path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

    def record(self, entry: AuditEntry) -> None:
        line = _encode(entry) + b"\n"
        try:
            self._lines += 1
            descriptor = self._descriptor
            if descriptor is not None and self._lines % 64 == 0 and not self._same(descriptor):
                self.close()
                descriptor = None
            if descriptor is None:
                descriptor = self._descriptor = self._open()
            os.write(descriptor, line)
            self._broken = False
        except OSError as error:
            if not self._broken:
                log.error("the audit file %s cannot be written: %s", self.path, error)
            self._broken = True

    def _same(self, descriptor: int) -> bool:
        try:
            return self.path.stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let go of the file; another record opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def entry_of(
    call: Call,
    operation: Operation,
    agent: str,
    request: Any,
    result: Any,
    error: BaseException | None,
    now: float,
) -> AuditEntry:
    """Return the entry of one finished operation."""
    principal = call.principal
    task = context = ""
    if isinstance(request, SendMessageRequest):
        task, context = request.message.task_id or "", request.message.context_id or ""
        found = result.task if isinstance(result, SendMessageResponse) else None
        if isinstance(found, Task):
            task, context = found.id, found.context_id or ""
        else:
            task = getattr(result, "task_id", "") or task  # of a stream
    else:
        task = getattr(request, "task_id", None) or getattr(request, "id", None) or ""
        context = getattr(request, "context_id", None) or ""
    return AuditEntry(
        time=now,
        action=operation.name,
        outcome=outcome_of(error),
        owner=principal.owner if principal else "",
        tenant=principal.tenant if principal else "",
        scheme=principal.scheme if principal else "",
        agent=agent,
        task=task,
        context=context,
        address=call.peer,
        binding=call.binding,
        version=call.version,
    )


def outcome_of(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    if isinstance(error, A2AError):
        return error.reason or type(error).__name__
    return "CANCELED" if not isinstance(error, Exception) else "INTERNAL"
