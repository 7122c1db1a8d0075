"""What the types cannot say about a request: presence, ranges, exactly one of (section 5.7).

Ordinary requests pass here once, on the hot path: no more is looked at than the rules need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from msgspec import UNSET

from . import types as t
from .errors import MAX_FAULTS, InvalidParamsError
from .values import unfit

MAX_ID = 256
"""Characters in an id that a client chooses or names."""
MAX_ITEMS = 10_000
"""Items of a list in a request, where reading each of them takes long: see ``protojson``."""
MAX_PAGE = 100
"""Tasks on one page of ListTasks (section 3.1.4)."""

_INT32 = 2**31
_INT64 = 2**63
Violation = tuple[str, str]


def check(request: t.Wire) -> None:
    """Raise InvalidParamsError, with the JSON path of each fault, where a rule is broken."""
    if faults := violations(request):
        raise InvalidParamsError.of(faults)


def violations(request: t.Wire) -> list[Violation]:
    """Return broken rules as (JSON path, what is wrong), ``MAX_FAULTS`` at most; empty for a valid
    request."""
    rules = _RULES.get(type(request))
    return [] if rules is None else list(islice(rules(request), MAX_FAULTS))


def _send(request: t.SendMessageRequest) -> Iterator[Violation]:
    message = request.message
    yield from _id("message.messageId", message.message_id)
    if message.role is t.Role.UNSPECIFIED:
        yield "message.role", "is required: ROLE_USER for a message of a client"
    if message.task_id is not None:
        yield from _id("message.taskId", message.task_id)
    if message.context_id is not None:
        yield from _id("message.contextId", message.context_id)
    if message.reference_task_ids:
        for index, named in enumerate(message.reference_task_ids):
            yield from _id(f"message.referenceTaskIds[{index}]", named)
    if not message.parts:
        yield "message.parts", "must have at least one part"
    for index, part in enumerate(message.parts):
        absent = (part.text is None) + (part.raw is None) + (part.url is None)
        if absent + (part.data is UNSET) != 3:
            yield f"message.parts[{index}]", "must have exactly one of text, raw, url and data"
        if part.data is not UNSET and (wrong := unfit(part.data)) is not None:
            yield f"message.parts[{index}].data", wrong
        if part.metadata is not None:
            yield from _json(f"message.parts[{index}].metadata", part.metadata)
    if message.metadata is not None:
        yield from _json("message.metadata", message.metadata)
    if request.metadata is not None:
        yield from _json("metadata", request.metadata)
    if (configuration := request.configuration) is not None:
        yield from _history("configuration.historyLength", configuration.history_length)
        yield from _generation("configuration.ifGenerationMatch", configuration.if_generation_match)
        if (push := configuration.task_push_notification_config) is not None:
            yield from _push("configuration.taskPushNotificationConfig.", push)


def _get_task(request: t.GetTaskRequest) -> Iterator[Violation]:
    yield from _id("id", request.id)
    yield from _history("historyLength", request.history_length)
    yield from _generation("currentGeneration", request.current_generation)


def _list_tasks(request: t.ListTasksRequest) -> Iterator[Violation]:
    if request.status is t.TaskState.UNSPECIFIED:  # the lenient reader takes it for absent
        yield "status", "must name a state"
    size = request.page_size
    if size is not None and not 1 <= size <= MAX_PAGE:
        yield "pageSize", f"must be between 1 and {MAX_PAGE}, not {size}"
    yield from _history("historyLength", request.history_length)
    if request.context_id is not None:
        yield from _id("contextId", request.context_id)
    if request.status_timestamp_after is not None:
        yield from _timestamp("statusTimestampAfter", request.status_timestamp_after)


def _named(request: t.SubscribeToTaskRequest) -> Iterator[Violation]:
    yield from _id("id", request.id)


def _cancel(request: t.CancelTaskRequest) -> Iterator[Violation]:
    yield from _id("id", request.id)
    yield from _json("metadata", request.metadata)


def _create_push(request: t.TaskPushNotificationConfig) -> Iterator[Violation]:
    yield from _id("taskId", request.task_id or "")
    yield from _push("", request)


def _one_push(
    request: t.GetTaskPushNotificationConfigRequest | t.DeleteTaskPushNotificationConfigRequest,
) -> Iterator[Violation]:
    yield from _id("taskId", request.task_id)
    yield from _id("id", request.id)


def _list_push(request: t.ListTaskPushNotificationConfigsRequest) -> Iterator[Violation]:
    yield from _id("taskId", request.task_id)
    size = request.page_size
    if size is not None and not 0 <= size < _INT32:  # not `optional` in the proto: 0 is unset
        yield "pageSize", f"must not be negative, nor more than {_INT32 - 1}"


def _push(path: str, config: t.TaskPushNotificationConfig) -> Iterator[Violation]:
    if not config.url:
        yield f"{path}url", "is required"
    if config.id is not None:
        yield from _id(f"{path}id", config.id)
    if config.authentication is not None and not config.authentication.scheme:
        yield f"{path}authentication.scheme", "is required"


def _id(path: str, value: str) -> Iterable[Violation]:
    if not value:
        return ((path, "is required"),)
    if len(value) > MAX_ID:
        return ((path, f"must have at most {MAX_ID} characters, not {len(value)}"),)
    if "\0" in value:  # which no SQL store of ours could hold
        return ((path, "must not have a NUL character"),)
    return ()


def _json(path: str, value: dict[str, Any] | None) -> Iterable[Violation]:
    if value is None or (wrong := unfit(value)) is None:
        return ()
    return ((path, wrong),)


def _history(path: str, value: int | None) -> Iterable[Violation]:
    if value is None or 0 <= value < _INT32:
        return ()
    return ((path, f"must not be negative, nor more than {_INT32 - 1}"),)


def _generation(path: str, value: int | None) -> Iterable[Violation]:
    if value is None or 0 <= value < _INT64:
        return ()
    return ((path, f"must not be negative, nor more than {_INT64 - 1}"),)


def _timestamp(path: str, value: str) -> Iterable[Violation]:
    try:
        if datetime.fromisoformat(value).tzinfo is not None:
            return ()
    except ValueError:
        pass
    return ((path, "must be a time such as 2025-10-28T10:30:00.000Z"),)


_RULES: dict[type[t.Wire], Callable[[Any], Iterator[Violation]]] = {
    t.SendMessageRequest: _send,
    t.GetTaskRequest: _get_task,
    t.ListTasksRequest: _list_tasks,
    t.CancelTaskRequest: _cancel,
    t.SubscribeToTaskRequest: _named,
    t.TaskPushNotificationConfig: _create_push,
    t.GetTaskPushNotificationConfigRequest: _one_push,
    t.DeleteTaskPushNotificationConfigRequest: _one_push,
    t.ListTaskPushNotificationConfigsRequest: _list_push,
}
