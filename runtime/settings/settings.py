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

    task_delay: Annotated[
        NotNegative,
        Meta(
            description="A handler that still runs after this long has a task, whatever it returns "
            "later. 0: every handler has one, on disk before it starts (but for those "
            "annotated ``-> Message``)."
        ),
    ] = 0.05
    blocking_wait: Annotated[
        NotNegative,
        Meta(description="Longest wait of a blocking send; then the answer is the task as it is."),
    ] = 300.0
    long_poll_wait: Annotated[
        NotNegative,
        Meta(description="Longest a GetTask with ``currentGeneration`` is held (1.1)."),
    ] = 60.0
    cancel_grace: Annotated[
        NotNegative,
        Meta(
            description="What a handler may take to clean up after a cancel before it is left "
            "behind."
        ),
    ] = 5.0
    idle: Annotated[
        NotNegative,
        Meta(description="A task that waits this long without anybody listening leaves memory."),
    ] = 60.0
    heartbeat: Annotated[
        Positive,
        Meta(description="A stream that had nothing to say for this long sends a heartbeat."),
    ] = 15.0
    history_limit: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description="Messages shown when the caller names no ``historyLength``; ``None``: all."
        ),
    ] = None
    mailbox: Annotated[
        Count,
        Meta(description="Messages a working task may have unread."),
    ] = 64
    window: Annotated[
        Count,
        Meta(
            description="Entries of one task that may wait for the commit before its handler is "
            "made "
            "to wait."
        ),
    ] = 64
    tail_events: Annotated[
        Count,
        Meta(description="Events of one task kept for its readers and then folded into a segment."),
    ] = 256
    tail_bytes: Annotated[
        int,
        Meta(ge=0, description="The same, in bytes."),
    ] = 64 * 1024
    run_records: Annotated[
        Count,
        Meta(description="Journal entries one run of a handler may write; more fails the task."),
    ] = 50_000
    threads: Annotated[
        Count,
        Meta(description="Plain ``def`` handlers that run at once."),
    ] = 40
    handlers: Annotated[
        Count,
        Meta(description="Handlers that run at once; more sends are refused."),
    ] = 10_000
    streams: Annotated[
        int,
        Meta(ge=0, description="Open streams; more are refused."),
    ] = 100_000
    page_size: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="ListTasks without ``pageSize`` (section 3.1.4); the most is 100.",
        ),
    ] = 50
    lease: Annotated[
        Positive,
        Meta(description="A node that did not say for this long that it lives is dead."),
    ] = 15.0
    send_retention: Annotated[
        NotNegative,
        Meta(
            description="How long a repeated ``messageId`` gets its first answer, or the error "
            "that its task was deleted. Later it is a new message."
        ),
    ] = 86_400.0
    task_retention: Annotated[
        NotNegative | None,
        Meta(description="How long a finished task is kept; ``None``: for ever."),
    ] = None
    context_retention: Annotated[
        NotNegative | None,
        Meta(
            description="A context without a task that is not over is forgotten with all its tasks "
            "this long after it was last active; ``None``: never."
        ),
    ] = None
    context_idle: Annotated[
        NotNegative,
        Meta(description="A context that was not active for this long is shown as idle."),
    ] = 3600.0
    event_limit: Annotated[
        Count | None,
        Meta(
            description="Events kept of a task that goes on and on. Older ones are deleted, but "
            "for "
            "those of the current run, which replay needs, and those that are not folded "
            "yet; a stream that is resumed before them begins again with a snapshot. "
            "``None``: all."
        ),
    ] = 10_000
    event_retention: Annotated[
        NotNegative | None,
        Meta(
            description="How long streams of a finished task can be resumed from any event; later "
            "they begin again with a snapshot. What was not folded yet is kept. "
            "``None``: as long as the task."
        ),
    ] = None
    sweep_every: Annotated[
        Positive,
        Meta(description="Between looks for orphans and due timers."),
    ] = 1.0
    prune_every: Annotated[
        Positive,
        Meta(description="Between looks for what is kept no longer."),
    ] = 60.0
    unblock_every: Annotated[
        Positive,
        Meta(
            description="Between looks at whether a task that could not be replayed has a handler "
            "that fits."
        ),
    ] = 30.0
    attempts: Annotated[
        Count,
        Meta(
            description="Times a run is started without coming any further before its task fails."
        ),
    ] = 10

    def checked(self) -> RuntimeSettings:
        """Return them; raises ``ValueError`` for a value out of bounds, however they were made."""
        try:
            return msgspec.convert(msgspec.structs.asdict(self), RuntimeSettings)
        except msgspec.ValidationError as error:
            detail = re.sub(r" - at `\$\.(\w+)`", r" for \1", str(error))
            raise ValueError(f"RuntimeSettings: {detail}") from None
