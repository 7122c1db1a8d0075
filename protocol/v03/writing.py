"""1.0 to 0.3: answers and events as a server sends them, requests as a client sends them.

Lost on the way, because 0.3 has no place for it: tenants, generations, PKCE, and in the proto form
``referenceTaskIds`` (its readers refuse members they do not know).
"""

from __future__ import annotations

from typing import Any

from .. import types as t
from . import parts
from . import types as w
from .reading import PROTO_STATES, STATES

_ENDS = t.TERMINAL | {t.TaskState.INPUT_REQUIRED}


class Writer:
    """Writes one of the two forms: the schema's (JSON-RPC) or the proto's (HTTP+JSON)."""

    def __init__(self, *, proto: bool, text: bool = False) -> None:
        """``text``: files of the proto form hold base64 text (see ``parts``)."""
        self.proto = proto
        self.text = text
        self.states = {state: name for name, state in (PROTO_STATES if proto else STATES).items()}
        self.roles = {
            t.Role.USER: "ROLE_USER" if proto else "user",
            t.Role.AGENT: "ROLE_AGENT" if proto else "agent",
            # 0.3 has no third role; only agents leave theirs open.
            t.Role.UNSPECIFIED: "ROLE_AGENT" if proto else "agent",
        }

    def message(self, message: t.Message) -> w.Message:
        proto = self.proto
        content = [parts.write(part, proto, self.text) for part in message.parts]
        if proto:
            return w.Message(
                message_id=message.message_id,
                role=self.roles[message.role],
                content=content,
                context_id=message.context_id,
                task_id=message.task_id,
                metadata=message.metadata,
                extensions=message.extensions,
            )
        return w.Message(
            kind="message",
            message_id=message.message_id,
            role=self.roles[message.role],
            parts=content,
            context_id=message.context_id,
            task_id=message.task_id,
            metadata=message.metadata,
            extensions=message.extensions,
            reference_task_ids=message.reference_task_ids,
        )

    def artifact(self, artifact: t.Artifact) -> w.Artifact:
        proto = self.proto
        return w.Artifact(
            artifact_id=artifact.artifact_id,
            name=artifact.name,
            description=artifact.description,
            parts=[parts.write(part, proto, self.text) for part in artifact.parts],
            metadata=artifact.metadata,
            extensions=artifact.extensions,
        )

    def status(self, status: t.TaskStatus) -> w.TaskStatus:
        return w.TaskStatus(
            state=self.states[status.state],
            message=None if status.message is None else self.message(status.message),
            timestamp=status.timestamp,
        )

    def task(self, task: t.Task) -> w.Task:
        return w.Task(
            kind=None if self.proto else "task",
            id=task.id,
            context_id=task.context_id or "",
            status=self.status(task.status),
            artifacts=[self.artifact(one) for one in task.artifacts] if task.artifacts else None,
            history=[self.message(one) for one in task.history] if task.history else None,
            metadata=task.metadata,
        )

    def status_update(self, event: t.TaskStatusUpdateEvent) -> w.StatusUpdate:
        """``final`` marks where the stream of a send ends, so not at auth-required (proto file)."""
        return w.StatusUpdate(
            kind=None if self.proto else "status-update",
            task_id=event.task_id,
            context_id=event.context_id,
            status=self.status(event.status),
            final=event.status.state in _ENDS,
            metadata=event.metadata,
        )

    def artifact_update(self, event: t.TaskArtifactUpdateEvent) -> w.ArtifactUpdate:
        return w.ArtifactUpdate(
            kind=None if self.proto else "artifact-update",
            task_id=event.task_id,
            context_id=event.context_id,
            artifact=self.artifact(event.artifact),
            append=event.append,
            last_chunk=event.last_chunk,
            metadata=event.metadata,
        )

    def event(self, response: t.StreamResponse | t.SendMessageResponse) -> t.Wire:
        """The schema has the bare object, known by its ``kind``; the proto a wrapper."""
        task = message = status_update = artifact_update = None
        if response.task is not None:
            task = self.task(response.task)
        elif response.message is not None:
            message = self.message(response.message)
        elif isinstance(response, t.StreamResponse):
            if response.status_update is not None:
                status_update = self.status_update(response.status_update)
            elif response.artifact_update is not None:
                artifact_update = self.artifact_update(response.artifact_update)
        if self.proto:
            return w.Wrapped(
                task=task,
                message=message,
                status_update=status_update,
                artifact_update=artifact_update,
            )
        bare = task or message or status_update or artifact_update
        assert bare is not None
        return bare

    def push_config(self, config: t.TaskPushNotificationConfig) -> w.PushConfig:
        authentication = None
        if (auth := config.authentication) is not None:
            authentication = w.Authentication(schemes=[auth.scheme], credentials=auth.credentials)
        return w.PushConfig(
            url=config.url, id=config.id, token=config.token, authentication=authentication
        )

    def task_push_config(self, config: t.TaskPushNotificationConfig) -> w.TaskPushConfig:
        inner = self.push_config(config)
        task_id = config.task_id or ""
        if self.proto:
            name = f"tasks/{task_id}/pushNotificationConfigs/{config.id or ''}"
            return w.TaskPushConfig(name=name, push_notification_config=inner)
        return w.TaskPushConfig(task_id=task_id, push_notification_config=inner)

    def push_configs(self, response: t.ListTaskPushNotificationConfigsResponse) -> Any:
        configs = [self.task_push_config(config) for config in response.configs or ()]
        if self.proto:
            return w.TaskPushConfigs(
                configs=configs, next_page_token=response.next_page_token or None
            )
        return configs

    def tasks(self, response: t.ListTasksResponse) -> list[w.Task]:
        """Section 7.3: ``[Task]``, in REST only."""
        return [self.task(task) for task in response.tasks]

    # --- requests -------------------------------------------------------------------------------

    def send(self, request: t.SendMessageRequest) -> w.SendParams:
        configuration = None
        if (asked := request.configuration) is not None:
            push = asked.task_push_notification_config
            config = None if push is None else self.push_config(push)
            configuration = w.SendConfiguration(
                accepted_output_modes=asked.accepted_output_modes,
                blocking=not asked.return_immediately,
                history_length=asked.history_length,
                push_notification_config=None if self.proto else config,
                push_notification=config if self.proto else None,
            )
        elif self.proto:
            # The proto form has no "absent": without this servers would answer at once.
            configuration = w.SendConfiguration(blocking=True)
        return w.SendParams(
            message=self.message(request.message),
            configuration=configuration,
            metadata=request.metadata,
        )

    def create_push(self, config: t.TaskPushNotificationConfig) -> w.TaskPushConfig:
        if not self.proto:
            return self.task_push_config(config)
        return w.TaskPushConfig(
            parent=f"tasks/{config.task_id or ''}",
            config_id=config.id,
            config=self.task_push_config(config),
        )

    def ids(self, request: Any) -> w.IdParams:
        """Any request that only names a task, or a push configuration of it."""
        fields = request.__struct_fields__
        nested = "task_id" in fields
        return w.IdParams(
            id=request.task_id if nested else request.id,
            push_notification_config_id=(request.id or None) if nested and "id" in fields else None,
            history_length=request.history_length if "history_length" in fields else None,
            metadata=request.metadata if "metadata" in fields else None,
        )
