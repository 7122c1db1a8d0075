"""The runtime's limits and times, each with its default. Seconds and bytes throughout."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from .described import described

Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]


@described
class RuntimeSettings(Struct, frozen=True, kw_only=True):
    """Change one with ``msgspec.structs.replace`` or by name when making the ``Runtime``."""

    birth_delay: NotNegative = 0.05
    """A handler that still runs after this long has a task, whatever it returns later. 0: every
    handler has one, on disk before it starts (but for those annotated ``-> Message``)."""
    blocking_wait: NotNegative = 300.0
    """Longest a blocking send waits; then it answers with the task as it stands."""
    long_poll_wait: NotNegative = 60.0
    """Longest a GetTask with ``currentGeneration`` is held (1.1)."""
    cancel_grace: NotNegative = 5.0
    """What a handler may take to clean up after a cancel before it is left behind."""
    idle: NotNegative = 60.0
    """A task that waits this long without anybody listening leaves memory."""
    heartbeat: Positive = 15.0
    """A stream that had nothing to say for this long sends a heartbeat."""
    history_limit: Annotated[int, Meta(ge=0)] | None = None
    """Messages shown when the caller names no ``historyLength``; ``None``: all."""
    mailbox: Count = 64
    """Messages a working task may have unread."""
    window: Count = 64
    """Entries of one task that may wait for the commit before its handler is made to wait."""
    tail_events: Count = 256
    """Events of one task kept for its readers and then folded into a segment."""
    tail_bytes: Annotated[int, Meta(ge=0)] = 64 * 1024
    """The same, in bytes."""
    run_records: Count = 50_000
    """Journal entries one run of a handler may write; more fails the task."""
    threads: Count = 40
    """Plain ``def`` handlers that run at once."""
    handlers: Count = 10_000
    """Handlers that run at once; more sends are refused."""
    streams: Annotated[int, Meta(ge=0)] = 100_000
    """Open streams; more are refused."""
    page_size: Annotated[int, Meta(ge=1, le=100)] = 50
    """ListTasks without ``pageSize`` (section 3.1.4); the most is 100."""
    lease: Positive = 15.0
    """A node that did not say for this long that it lives is dead."""
    send_retention: NotNegative = 86_400.0
    """How long a repeated ``messageId`` gets its first answer, or is told that its task was deleted
    meanwhile. Later it is a new message."""
    task_retention: NotNegative | None = None
    """How long a finished task is kept; ``None``: for ever."""
    context_retention: NotNegative | None = None
    """A context without a task that is not over is forgotten with all its tasks this long after it
    was last active; ``None``: never."""
    context_idle: NotNegative = 3600.0
    """A context that was not active for this long is shown as idle."""
    event_limit: Count | None = 10_000
    """Events kept of a task that goes on and on. Older ones are deleted, but for those of the
    current run, which replay needs, and those that are not folded yet; a stream that is resumed
    before them is told that it begins anew. ``None``: all."""
    event_retention: NotNegative | None = None
    """How long streams of a finished task can be resumed from any event; later they are told that
    they begin anew. What was not folded yet is kept. ``None``: as long as the task."""
    sweep_every: Positive = 1.0
    """Between looks for orphans and due timers."""
    prune_every: Positive = 60.0
    """Between looks for what is kept no longer."""
    unblock_every: Positive = 30.0
    """Between looks at whether a task that could not be replayed has a handler that fits."""
    attempts: Count = 10
    """Times a run is started without coming any further before its task fails."""

    def checked(self) -> RuntimeSettings:
        """Return them; raises ``ValueError`` for a value out of bounds, however they were made."""
        try:
            return msgspec.convert(msgspec.structs.asdict(self), RuntimeSettings)
        except msgspec.ValidationError as error:
            told = re.sub(r" - at `\$\.(\w+)`", r" for \1", str(error))
            raise ValueError(f"RuntimeSettings: {told}") from None
