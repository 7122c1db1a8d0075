"""0.3 to 1.0: requests as a server gets them, answers and events as a client gets them.

Lost on the way, because 1.0 has no place for it: metadata of requests that only name a task, all
but the first of several push authentication schemes, ``final`` (it follows from the state).
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from .. import types as t
from ..errors import InvalidParamsError
from . import parts
from . import types as w

_ROLES: dict[t.JSON, t.Role] = {
    "user": t.Role.USER,
    "agent": t.Role.AGENT,
    "ROLE_USER": t.Role.USER,
    "ROLE_AGENT": t.Role.AGENT,
    1: t.Role.USER,
    2: t.Role.AGENT,
}
# The order is that of the proto's numbers.
_STATE_NAMES = (
    "unknown", "submitted", "working", "completed", "failed", "canceled", "input-required",
    "rejected", "auth-required",
)  # fmt: skip
STATES: dict[str, t.TaskState] = dict(zip(_STATE_NAMES, t.TaskState, strict=True))
PROTO_STATES: dict[str, t.TaskState] = {
    "TASK_STATE_CANCELLED" if state is t.TaskState.CANCELED else state.value: state
    for state in t.TaskState
}
_STATES: dict[t.JSON, t.TaskState] = {
    **dict(STATES),
    **dict(PROTO_STATES),
    "TASK_STATE_CANCELED": t.TaskState.CANCELED,
    **dict(enumerate(t.TaskState)),
}


# --- objects ------------------------------------------------------------------------------------


def message(
    wire: w.Message | w.Result, where: str = "message", role: t.Role | None = None
) -> t.Message:
    """Return the 1.0 message; ``role`` stands in where an answer leaves it out (section 9.2)."""
    if wire.kind not in (None, "message"):
        raise InvalidParamsError(f"{wire.kind!r} is not a message", field=f"{where}.kind")
    if wire.role is not None:
        role = _ROLES.get(wire.role) if isinstance(wire.role, str | int) else None
    if role is None:
        raise InvalidParamsError("The role is 'user' or 'agent'", field=f"{where}.role")
    if wire.parts is not None:
        content, inside = wire.parts, f"{where}.parts"
    else:
        content, inside = wire.content or [], f"{where}.content"
    return t.Message(
        message_id=wire.message_id or "",
        role=role,
        parts=[parts.read(part, inside, index) for index, part in enumerate(content)],
        context_id=wire.context_id or None,
        task_id=wire.task_id or None,
        metadata=wire.metadata,
        extensions=wire.extensions,
        reference_task_ids=wire.reference_task_ids,
    )


def artifact(wire: w.Artifact, where: str) -> t.Artifact:
    inside = f"{where}.parts"
    return t.Artifact(
        artifact_id=wire.artifact_id,
        parts=[parts.read(part, inside, index) for index, part in enumerate(wire.parts)],
        name=wire.name or None,
        description=wire.description or None,
        metadata=wire.metadata,
        extensions=wire.extensions,
    )


def status(wire: w.TaskStatus) -> t.TaskStatus:
    state = _STATES.get(wire.state) if isinstance(wire.state, str | int) else None
    if state is None:
        raise InvalidParamsError("Not a task state", field="status.state")
    update = wire.message if wire.message is not None else wire.update
    return t.TaskStatus(
        state=state,
        message=None if update is None else message(update, "status.message", t.Role.AGENT),
        timestamp=_utc(wire.timestamp) if wire.timestamp else None,
    )


def _utc(timestamp: str) -> str:
    """Return the timestamp with a ``Z``: 0.3 leaves the zone open, its examples have none."""
    clock = timestamp.removesuffix("+00:00")
    zoned = any(mark in clock[10:] for mark in "Zz+-")
    return clock if zoned else clock + "Z"


def task(wire: w.Result) -> t.Task:
    if not wire.id or wire.status is None:
        missing = "status" if wire.id else "id"
        raise InvalidParamsError(f"A task has an {missing}", field=missing)
    return t.Task(
        id=wire.id,
        status=status(wire.status),
        context_id=wire.context_id or None,
        artifacts=None
        if wire.artifacts is None
        else [artifact(one, f"artifacts[{i}]") for i, one in enumerate(wire.artifacts)],
        history=None
        if wire.history is None
        else [message(one, f"history[{i}]", t.Role.AGENT) for i, one in enumerate(wire.history)],
        metadata=wire.metadata,
    )


def event(wire: w.Result) -> t.StreamResponse:
    """Return what was answered or streamed, in either form, tagged or not."""
    if wire.task is not None:
        return t.StreamResponse(task=task(wire.task))
    wrapped = wire.message if wire.message is not None else wire.msg
    if wrapped is not None:
        return t.StreamResponse(message=message(wrapped, role=t.Role.AGENT))
    kind = wire.kind
    if wire.status_update is not None:
        wire, kind = wire.status_update, "status-update"
    elif wire.artifact_update is not None:
        wire, kind = wire.artifact_update, "artifact-update"
    if kind == "status-update" and wire.status is not None:
        return t.StreamResponse(
            status_update=t.TaskStatusUpdateEvent(
                task_id=wire.task_id or "",
                context_id=wire.context_id or "",
                status=status(wire.status),
                metadata=wire.metadata,
            )
        )
    if kind == "artifact-update" and wire.artifact is not None:
        return t.StreamResponse(
            artifact_update=t.TaskArtifactUpdateEvent(
                task_id=wire.task_id or "",
                context_id=wire.context_id or "",
                artifact=artifact(wire.artifact, "artifact"),
                append=wire.append,
                last_chunk=wire.last_chunk,
                metadata=wire.metadata,
            )
        )
    if kind == "task" or (kind is None and wire.status is not None):
        return t.StreamResponse(task=task(wire))
    if kind == "message" or (kind is None and (wire.parts or wire.content)):
        return t.StreamResponse(message=message(wire, role=t.Role.AGENT))
    raise InvalidParamsError(
        "Expected a task, a message, a status update or an artifact update", field="kind"
    )


def push_config(wire: w.PushConfig, task_id: str | None) -> t.TaskPushNotificationConfig:
    authentication = None
    if (auth := wire.authentication) is not None and (auth.schemes or auth.credentials):
        # 1.0 has one scheme; credentials without one have always been sent as bearer tokens.
        scheme = auth.schemes[0] if auth.schemes else "Bearer"
        authentication = t.AuthenticationInfo(scheme=scheme, credentials=auth.credentials or None)
    return t.TaskPushNotificationConfig(
        url=wire.url,
        id=wire.id or None,
        task_id=task_id,
        token=wire.token or None,
        authentication=authentication,
    )


def task_push_config(wire: w.TaskPushConfig) -> t.TaskPushNotificationConfig:
    inner = wire.config if wire.config is not None else wire
    task_id = inner.task_id or wire.task_id or _named(inner.name)[0] or _named(wire.parent)[0]
    if inner.push_notification_config is None:
        raise InvalidParamsError(
            "pushNotificationConfig is required", field="pushNotificationConfig"
        )
    config = push_config(inner.push_notification_config, task_id)
    if config.id is None and wire.config_id:
        return t.TaskPushNotificationConfig(
            url=config.url,
            id=wire.config_id,
            task_id=task_id,
            token=config.token,
            authentication=config.authentication,
        )
    return config


def _named(name: str | None) -> tuple[str | None, str | None]:
    """Return the ids in a resource name: of the task, and of its push configuration."""
    path = (name or "").split("/")
    if len(path) >= 2 and path[0] == "tasks":
        push = path[3] if len(path) == 4 and path[2] == "pushNotificationConfigs" else None
        return path[1] or None, push or None
    return None, None


# --- requests: the fields of the 1.0 request ----------------------------------------------------


def send(params: w.SendParams) -> dict[str, Any]:
    given = params.message if params.message is not None else params.request
    if given is None:
        raise InvalidParamsError("message is required", field="message")
    read = message(given)
    if not read.message_id:
        # Documented requests of other products have none. An id of our own makes the send one that
        # is never taken for a repeat.
        named = params.message_id or str(uuid4())
        read = t.Message(**{**_members(read), "message_id": named})
    fields: dict[str, Any] = {"message": read, "metadata": params.metadata}
    if (configuration := params.configuration) is not None:
        fields["configuration"] = _configuration(configuration, is_proto(params))
    return fields


def is_proto(params: w.SendParams) -> bool:
    """Return whether a send has the proto form, whose messages have ``content``."""
    given = params.message if params.message is not None else params.request
    return given is not None and given.content is not None


def _members(value: t.Wire) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def _configuration(wire: w.SendConfiguration, proto: bool) -> t.SendMessageConfiguration:
    push = wire.push_notification_config or wire.push_notification
    # Servers of 0.3 wait unless told not to. The proto form cannot tell false from absent: its
    # clients leave out false, and send true when they want to wait.
    blocking = wire.blocking if wire.blocking is not None else not proto
    return t.SendMessageConfiguration(
        accepted_output_modes=wire.accepted_output_modes,
        task_push_notification_config=None if push is None else push_config(push, None),
        # 0 means all messages in 0.3: so says its proto, and so do its SDKs.
        history_length=wire.history_length or None,
        return_immediately=not blocking,
    )


def get_task(params: w.IdParams) -> dict[str, Any]:
    return {"id": _task_id(params), "history_length": params.history_length or None}


def cancel(params: w.IdParams) -> dict[str, Any]:
    return {"id": _task_id(params), "metadata": params.metadata}


def subscribe(params: w.IdParams) -> dict[str, Any]:
    return {"id": _task_id(params)}


def push_id(params: w.IdParams) -> dict[str, Any]:
    """Without an id of its own (``TaskIdParams``) the id is empty: whichever the task has."""
    task_id, push = _named(params.name)
    push = params.push_notification_config_id or push
    if params.task_id:
        return {"task_id": params.task_id, "id": push or params.id or ""}
    return {"task_id": params.id or task_id or "", "id": push or ""}


def list_push(params: w.IdParams) -> dict[str, Any]:
    return {
        "task_id": params.task_id or _task_id(params),
        "page_size": params.page_size or None,
        "page_token": params.page_token or None,
    }


def _task_id(params: w.IdParams) -> str:
    return params.id or _named(params.name)[0] or _named(params.parent)[0] or ""
