"""Who did what: an append-only record, to a sink of your choice."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct, structs

from ...protocol.errors import A2AError, PayloadTooLargeError, ResourceExhaustedError
from ...protocol.operations import Operation
from ...protocol.types import SendMessageRequest, SendMessageResponse, Task
from ..call import Call
from .rate_limits import network_of

AUTHENTICATE = "Authenticate"
REQUEST = "Request"
"""The action of a request that names no operation which the server knows."""
OK = "ok"
LIMITED = frozenset({ResourceExhaustedError.reason, PayloadTooLargeError.reason})
WINDOW = 60.0
"""Seconds for which one entry counts all refusals of one caller."""
CALLERS = 1000
"""The most callers that are counted apart; one entry counts all others together."""
LONGEST = 256
"""Characters of a text that its caller chose."""


class AuditEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit record. It holds no content, no credentials and no claims.

    ``action`` is the name of an operation; ``Authenticate`` for a request that was refused before
    its operation was known; ``Request`` for a request of an admitted caller that names no operation
    which the server knows. ``outcome`` is ``ok`` or the reason of the error.
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
    guess: bool = False
    """A credential was shown, and refused."""
    more: int = 0
    """How many more refusals of the same kind this entry counts."""


class AuditSink(Protocol):
    """Where entries go. Called from the event loop: ``record`` must not block or raise. A number
    ``lost``, where there is one, is shown in the metrics.
    """

    def record(self, entry: AuditEntry) -> None: ...

    def close(self) -> None: ...


class AggregatingSink:
    """Passes on what callers did, and gathers refusals that can come in floods.

    Those are refused credentials, refusals for a limit, and whatever fails before the caller is
    known. Of them the sink gets two lines for each minute, caller and kind: the first, and the last
    with the number of those between. So nobody fills the disk by being refused. Guesses are another
    kind than calls without a credential: the one cannot hide the other.
    """

    def __init__(self, sink: AuditSink) -> None:
        self.sink = sink
        self._open: dict[tuple[str, ...], _Window] = {}  # in the order in which they end

    def record(self, entry: AuditEntry) -> None:
        if self._open:
            self._end(entry.time - WINDOW)
        known = entry.owner != "" and entry.action != AUTHENTICATE
        if entry.outcome == OK or (known and entry.outcome not in LIMITED):
            self.sink.record(entry)
            return
        who = entry.owner or network_of(entry.address)
        key: tuple[str, ...] = (
            entry.action, entry.outcome, entry.tenant, who, "guess" if entry.guess else "",
        )  # fmt: skip
        if key not in self._open and len(self._open) >= CALLERS:
            key = ()  # all others together
        window = self._open.get(key)
        if window is None:
            self._open[key] = _Window(entry.time)
            self.sink.record(entry)
        else:
            window.count += 1
            window.last = entry

    def _end(self, before: float) -> None:
        """Tell the last refusal of every window that began ``before``."""
        while self._open:
            key, window = next(iter(self._open.items()))
            if window.since > before:
                return
            del self._open[key]
            if window.last is not None:
                self.sink.record(structs.replace(window.last, more=window.count - 1))

    def close(self) -> None:
        self._end(float("inf"))
        self.sink.close()

    @property
    def lost(self) -> int:
        """Entries that the sink could not keep, if it counts them."""
        return getattr(self.sink, "lost", 0)


class _Window(Struct):
    since: float
    count: int = 0
    last: AuditEntry | None = None


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
        answer = result.task if isinstance(result, SendMessageResponse) else None
        if isinstance(answer, Task):
            task, context = answer.id, answer.context_id or ""
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
        return OK
    if isinstance(error, A2AError):
        return error.reason or type(error).__name__
    return "CANCELED" if not isinstance(error, Exception) else "INTERNAL"
