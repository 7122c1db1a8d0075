"""The runtime's limits and times, each with its default. Seconds and bytes throughout."""

from __future__ import annotations

from msgspec import Struct


class RuntimeSettings(Struct, frozen=True, kw_only=True):
    """Change one with ``msgspec.structs.replace`` or by name when making the ``Runtime``."""

    birth_delay: float = 0.05
    """A handler that still runs after this long has a task, whatever it returns later."""
    blocking_wait: float = 300.0
    """Longest a blocking send waits; then it answers with the task as it stands."""
    long_poll_wait: float = 60.0
    """Longest a GetTask with ``currentGeneration`` is held (1.1)."""
    cancel_grace: float = 5.0
    """What a handler may take to clean up after a cancel before it is left behind."""
    idle: float = 60.0
    """A task that waits this long without anybody listening leaves memory."""
    heartbeat: float = 15.0
    """A stream that had nothing to say for this long sends a heartbeat."""
    history_limit: int | None = None
    """Messages shown when the caller names no ``historyLength``; ``None``: all."""
    mailbox: int = 64
    """Messages a working task may have unread."""
    window: int = 64
    """Entries of one task that may wait for the commit before its handler is made to wait."""
    tail_events: int = 256
    """Events of one task kept for its readers and then folded into a segment."""
    tail_bytes: int = 64 * 1024
    """The same, in bytes."""
    run_records: int = 50_000
    """Journal entries one run of a handler may write; more fails the task."""
    threads: int = 40
    """Plain ``def`` handlers that run at once."""
    handlers: int = 10_000
    """Handlers that run at once; more sends are refused."""
    streams: int = 100_000
    """Open streams; more are refused."""
    page_size: int = 50
    """ListTasks without ``pageSize`` (section 3.1.4); the most is 100."""
    lease: float = 15.0
    """A node that did not say for this long that it lives is dead."""
    send_retention: float = 86_400.0
    """How long a repeated ``messageId`` gets its first answer."""
    task_retention: float | None = None
    """How long a finished task is kept; ``None``: for ever."""
    sweep_every: float = 1.0
    """Between looks for orphans and due timers."""
    prune_every: float = 60.0
    """Between looks for what is kept no longer."""
    unblock_every: float = 30.0
    """Between looks at whether a task that could not be replayed has a handler that fits."""
    attempts: int = 10
    """Times a run is started without coming any further before its task fails."""
