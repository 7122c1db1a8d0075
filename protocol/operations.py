"""The one table of operations (section 5.3): methods and routes of every binding follow from it."""

from __future__ import annotations

from dataclasses import dataclass

from . import types as t


@dataclass(frozen=True, slots=True)
class Operation:
    """One row: what is asked, what is answered, and how each binding spells it.

    ``rest`` is (method, path) as in the proto annotations, ``rest_03`` those of 0.3 below ``/v1``;
    ``method_03`` the JSON-RPC name of 0.3 (``None``: it does not exist there); ``body`` whether
    the request travels in a body.
    """

    name: str
    request: type[t.Wire]
    response: type[t.Wire] | None
    rest: tuple[tuple[str, str], ...]
    streaming: bool = False
    body: bool = True
    method_03: str | None = None
    rest_03: tuple[tuple[str, str], ...] = ()
    push: bool = False


SEND = Operation(
    "SendMessage", t.SendMessageRequest, t.SendMessageResponse,
    (("POST", "/message:send"),),
    method_03="message/send", rest_03=(("POST", "/message:send"),),
)  # fmt: skip
STREAM = Operation(
    "SendStreamingMessage", t.SendMessageRequest, t.StreamResponse,
    (("POST", "/message:stream"),), streaming=True,
    method_03="message/stream", rest_03=(("POST", "/message:stream"),),
)  # fmt: skip
GET_TASK = Operation(
    "GetTask", t.GetTaskRequest, t.Task,
    (("GET", "/tasks/{id}"),), body=False,
    method_03="tasks/get", rest_03=(("GET", "/tasks/{id}"),),
)  # fmt: skip
LIST_TASKS = Operation(
    "ListTasks", t.ListTasksRequest, t.ListTasksResponse,
    (("GET", "/tasks"),), body=False,
    method_03=None, rest_03=(("GET", "/tasks"),),
)  # fmt: skip
CANCEL = Operation(
    "CancelTask", t.CancelTaskRequest, t.Task,
    (("POST", "/tasks/{id}:cancel"),),
    method_03="tasks/cancel", rest_03=(("POST", "/tasks/{id}:cancel"),),
)  # fmt: skip
SUBSCRIBE = Operation(
    "SubscribeToTask", t.SubscribeToTaskRequest, t.StreamResponse,
    (("POST", "/tasks/{id}:subscribe"), ("GET", "/tasks/{id}:subscribe")),
    streaming=True, body=False,
    method_03="tasks/resubscribe",
    rest_03=(("GET", "/tasks/{id}:subscribe"), ("POST", "/tasks/{id}:subscribe")),
)  # fmt: skip
CREATE_PUSH = Operation(
    "CreateTaskPushNotificationConfig",
    t.TaskPushNotificationConfig, t.TaskPushNotificationConfig,
    (("POST", "/tasks/{task_id}/pushNotificationConfigs"),), push=True,
    method_03="tasks/pushNotificationConfig/set",
    rest_03=(("POST", "/tasks/{task_id}/pushNotificationConfigs"),),
)  # fmt: skip
GET_PUSH = Operation(
    "GetTaskPushNotificationConfig",
    t.GetTaskPushNotificationConfigRequest, t.TaskPushNotificationConfig,
    (("GET", "/tasks/{task_id}/pushNotificationConfigs/{id}"),), body=False, push=True,
    method_03="tasks/pushNotificationConfig/get",
    rest_03=(("GET", "/tasks/{task_id}/pushNotificationConfigs/{id}"),),
)  # fmt: skip
LIST_PUSH = Operation(
    "ListTaskPushNotificationConfigs",
    t.ListTaskPushNotificationConfigsRequest, t.ListTaskPushNotificationConfigsResponse,
    (("GET", "/tasks/{task_id}/pushNotificationConfigs"),), body=False, push=True,
    method_03="tasks/pushNotificationConfig/list",
    rest_03=(("GET", "/tasks/{task_id}/pushNotificationConfigs"),),
)  # fmt: skip
DELETE_PUSH = Operation(
    "DeleteTaskPushNotificationConfig",
    t.DeleteTaskPushNotificationConfigRequest, None,
    (("DELETE", "/tasks/{task_id}/pushNotificationConfigs/{id}"),), body=False, push=True,
    method_03="tasks/pushNotificationConfig/delete",
    rest_03=(("DELETE", "/tasks/{task_id}/pushNotificationConfigs/{id}"),),
)  # fmt: skip
EXTENDED_CARD = Operation(
    "GetExtendedAgentCard", t.GetExtendedAgentCardRequest, t.AgentCard,
    (("GET", "/extendedAgentCard"),), body=False,
    method_03="agent/getAuthenticatedExtendedCard", rest_03=(("GET", "/card"),),
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (
    SEND, STREAM, GET_TASK, LIST_TASKS, CANCEL, SUBSCRIBE,
    CREATE_PUSH, GET_PUSH, LIST_PUSH, DELETE_PUSH, EXTENDED_CARD,
)  # fmt: skip
"""The eleven operations of A2A 1.0, in the order of section 5.3."""
