"""Reading: GetTask, ListTasks and SubscribeToTask (sections 3.1.3, 3.1.4, 3.1.6)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from math import inf, nextafter

import msgspec

from ...protocol.errors import (
    InvalidParamsError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from ...protocol.types import (
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    SubscribeToTaskRequest,
    Task,
)
from ..actor.directory import Directory
from ..actor.system import System
from ..actor.waits import Wait
from ..agent import Agent
from ..call import Call, TaskScope
from ..journal.entries import Snapshot, TaskQuery
from ..journal.feed import Subscription
from ..journal.fold import task_of
from ..security.gate import Gate
from .open_streams import held
from .subscription import open_stream, with_generation

MAX_PAGE_SIZE = 100


class TaskOperations:
    """The doors for those who look."""

    def __init__(
        self,
        system: System,
        directory: Directory,
        gate: Gate,
        opened: Callable[[Subscription], None],
    ) -> None:
        self._system = system
        self._tasks = system.stored_tasks
        self._directory = directory
        self._gate = gate
        self._opened = opened

    # --- GetTask --------------------------------------------------------------------------------

    async def get(
        self, call: Call, agent: Agent, scope: TaskScope, request: GetTaskRequest
    ) -> Task:
        history = request.history_length
        if history is None:
            history = self._system.settings.history_limit
        if request.current_generation is not None:
            async with held(self._gate, call):
                await self._newer(scope, request.id, request.current_generation)
        actor = self._directory.awake(scope, request.id)
        if actor is not None:
            task, generation = await actor.task(history)
        else:
            snapshot = await self._tasks.snapshot(scope, request.id, history=history)
            if snapshot is None:
                raise TaskNotFoundError(taskId=request.id)
            task, generation = task_of(snapshot), snapshot.header.generation
        return with_generation(task, generation, call)

    async def _newer(self, scope: TaskScope, task_id: str, generation: int) -> None:
        """Long-poll (1.1, section 3.2.7): wait until the task is past ``generation``."""
        actor = await self._directory.activate(scope, task_id)
        wait = Wait(actor)
        self._system.polls.add(wait)
        actor.hold()
        try:
            while not (actor.feed.generation > generation or actor.feed.closed or wait.expired):
                await actor.feed.signal.wait()
        finally:
            actor.release()
            self._system.polls.discard(wait)

    # --- ListTasks ------------------------------------------------------------------------------

    async def list(
        self, call: Call, agent: Agent, scope: TaskScope, request: ListTasksRequest
    ) -> ListTasksResponse:
        size = (
            request.page_size
            if request.page_size is not None
            else (self._system.settings.page_size)
        )
        if not 1 <= size <= MAX_PAGE_SIZE:
            raise InvalidParamsError(
                f"pageSize must be between 1 and {MAX_PAGE_SIZE}", field="pageSize"
            )
        after = _read_token(request) if request.page_token else None
        page = await self._tasks.tasks(
            TaskQuery(
                scope=scope,
                limit=size,
                context_id=request.context_id or None,
                state=request.status,
                updated_after=_seconds(request.status_timestamp_after),
                after=after,
            )
        )
        artifacts = bool(request.include_artifacts)
        history = request.history_length if request.history_length is not None else 0
        snapshots: Sequence[Snapshot] = [Snapshot(header) for header in page.headers]
        if artifacts or history:
            snapshots = await self._tasks.snapshots(
                scope, [header.id for header in page.headers], history=history, artifacts=artifacts
            )
        tasks: list[Task] = []
        for snapshot in snapshots:
            task = task_of(snapshot, artifacts=artifacts)
            if artifacts and task.artifacts is None:
                task = msgspec.structs.replace(task, artifacts=[])
            tasks.append(with_generation(task, snapshot.header.generation, call))
        token = ""
        if page.more:
            last = page.headers[-1]
            token = _write_token(request, (last.updated_at, last.id))
        return ListTasksResponse(
            tasks=tasks, next_page_token=token, page_size=size, total_size=page.total
        )

    # --- SubscribeToTask ------------------------------------------------------------------------

    async def subscribe(
        self, call: Call, agent: Agent, scope: TaskScope, request: SubscribeToTaskRequest
    ) -> Subscription:
        actor = await self._directory.activate(scope, request.id)
        committed = actor.committed
        assert committed is not None
        if committed.state.terminal and call.last_event_id is None:
            raise UnsupportedOperationError(
                f"The task is {committed.state.name.lower()}; there is nothing to subscribe to",
                taskId=request.id,
            )
        stream = await open_stream(
            self._system, actor, call, history=self._system.settings.history_limit
        )
        self._opened(stream)
        return stream


# --- page tokens --------------------------------------------------------------------------------


class _Token(msgspec.Struct, array_like=True):
    filters: str
    updated_at: float
    id: str


def _filters(request: ListTasksRequest) -> str:
    """A digest of the filters: a token is for the question it answered."""
    filters = (request.context_id, request.status, request.status_timestamp_after)
    return blake2b(msgspec.json.encode(filters), digest_size=6).hexdigest()


def _write_token(request: ListTasksRequest, position: tuple[float, str]) -> str:
    body = msgspec.json.encode(_Token(_filters(request), *position))
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def _read_token(request: ListTasksRequest) -> tuple[float, str]:
    text = request.page_token or ""
    try:
        body = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        token = msgspec.json.decode(body, type=_Token)
    except Exception:
        token = None
    if token is None or token.filters != _filters(request):
        raise InvalidParamsError(
            "pageToken is not one that this server gave for these filters; start again without it",
            field="pageToken",
        )
    return token.updated_at, token.id


def _seconds(timestamp: str | None) -> float | None:
    if not timestamp:
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        raise InvalidParamsError(
            "statusTimestampAfter must be an RFC 3339 time such as 2026-01-31T12:00:00Z",
            field="statusTimestampAfter",
        ) from None
    # At or after it counts (a2a.proto), while the store is asked for what came later; times on the
    # wire are cut to milliseconds, so a task's own timestamp is never after its update.
    exact = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return nextafter(exact, -inf)
