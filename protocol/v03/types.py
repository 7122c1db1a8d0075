"""The objects of A2A 0.3 (``a2a.schema.json`` and ``a2a.proto``): its two JSON forms in one.

Where the forms differ in a name, both members are here and one is set: ``parts`` or ``content``,
``bytes`` or ``fileWithBytes``. States and roles are text (or the proto's number); ``kind`` is a
plain member, because the specification's own examples leave it out. ``ONEOF`` names the members
of which an empty string is a value.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from ..types import JSON, Wire


class File(Wire):
    """Schema: ``bytes`` or ``uri``. Proto: ``fileWithBytes`` or ``fileWithUri``."""

    ONEOF: ClassVar = frozenset({"raw", "uri", "file_with_bytes", "file_with_uri"})

    raw: bytes | None = field(default=None, name="bytes")
    uri: str | None = None
    file_with_bytes: bytes | None = None
    file_with_uri: str | None = None
    # Not in the schema, but in the examples of sections 9.3 of 0.2 and 0.3.
    data: bytes | None = None
    name: str | None = None
    mime_type: str | None = None
    # The names of 1.0, which programs between the versions write.
    filename: str | None = None
    media_type: str | None = None


class Part(Wire):
    """``raw``, ``url`` and the two members after them are of 1.0, in the bodies of programs that
    speak the methods of 0.3."""

    ONEOF: ClassVar = frozenset({"text", "raw", "url"})

    kind: str | None = None
    text: str | None = None
    file: File | None = None
    data: dict[str, JSON] | None = None
    raw: bytes | None = None
    url: str | None = None
    filename: str | None = None
    media_type: str | None = None
    metadata: dict[str, JSON] | None = None


class Message(Wire):
    message_id: str
    kind: str | None = None
    role: JSON = None
    parts: list[Part] | None = None
    content: list[Part] | None = None
    context_id: str | None = None
    task_id: str | None = None
    metadata: dict[str, JSON] | None = None
    extensions: list[str] | None = None
    reference_task_ids: list[str] | None = None


class Artifact(Wire):
    artifact_id: str
    parts: list[Part]
    name: str | None = None
    description: str | None = None
    metadata: dict[str, JSON] | None = None
    extensions: list[str] | None = None


class TaskStatus(Wire):
    state: JSON = None
    message: Message | None = None
    update: Message | None = None
    timestamp: str | None = None


class Result(Wire):
    """What is answered and streamed: a Task, Message or event by its ``kind``, or a wrapper.

    One Struct reads them all, for the same reason as in ``Part``; the writer never uses it.
    """

    kind: str | None = None
    id: str | None = None
    context_id: str | None = None
    task_id: str | None = None
    status: TaskStatus | None = None
    artifacts: list[Artifact] | None = None
    history: list[Message] | None = None
    artifact: Artifact | None = None
    append: bool = False
    last_chunk: bool = False
    metadata: dict[str, JSON] | None = None
    message_id: str | None = None
    role: JSON = None
    parts: list[Part] | None = None
    content: list[Part] | None = None
    extensions: list[str] | None = None
    reference_task_ids: list[str] | None = None
    task: Result | None = None
    message: Message | None = None
    msg: Message | None = None
    status_update: Result | None = None
    artifact_update: Result | None = None


class Task(Wire):
    id: str
    context_id: str
    status: TaskStatus
    kind: str | None = None
    artifacts: list[Artifact] | None = None
    history: list[Message] | None = None
    metadata: dict[str, JSON] | None = None


class StatusUpdate(Wire):
    task_id: str
    context_id: str
    status: TaskStatus
    kind: str | None = None
    final: bool | None = None
    metadata: dict[str, JSON] | None = None


class ArtifactUpdate(Wire):
    task_id: str
    context_id: str
    artifact: Artifact
    kind: str | None = None
    append: bool | None = None
    last_chunk: bool | None = None
    metadata: dict[str, JSON] | None = None


class Wrapped(Wire):
    """Proto: ``SendMessageResponse`` and ``StreamResponse``."""

    task: Task | None = None
    message: Message | None = None
    status_update: StatusUpdate | None = None
    artifact_update: ArtifactUpdate | None = None


class Authentication(Wire):
    schemes: list[str]
    credentials: str | None = None


class PushConfig(Wire):
    url: str
    id: str | None = None
    token: str | None = None
    authentication: Authentication | None = None


class TaskPushConfig(Wire):
    """Schema: ``taskId``. Proto: ``name``; a creation is wrapped: ``parent``, ``config``."""

    task_id: str | None = None
    name: str | None = None
    push_notification_config: PushConfig | None = None
    parent: str | None = None
    config_id: str | None = None
    config: TaskPushConfig | None = None


class TaskPushConfigs(Wire):
    """Proto: the list of push configurations; the schema has a bare array."""

    configs: list[TaskPushConfig] = field(default_factory=list[TaskPushConfig])
    next_page_token: str | None = None


class SendConfiguration(Wire):
    accepted_output_modes: list[str] | None = None
    blocking: bool | None = None
    history_length: int | None = None
    push_notification_config: PushConfig | None = None
    push_notification: PushConfig | None = None


class SendParams(Wire):
    """``request`` is the proto's name of ``message``.

    ``message_id`` is misplaced in the example of section 9.4, and so in clients made from it.
    """

    message: Message | None = None
    request: Message | None = None
    configuration: SendConfiguration | None = None
    metadata: dict[str, JSON] | None = None
    message_id: str | None = None


class IdParams(Wire):
    """All requests that name a task, and perhaps a push configuration of it.

    Proto: ``name`` or ``parent``, as ``tasks/{id}[/pushNotificationConfigs/{id}]``.
    """

    id: str | None = None
    task_id: str | None = None
    name: str | None = None
    parent: str | None = None
    push_notification_config_id: str | None = None
    history_length: int | None = None
    page_size: int | None = None
    page_token: str | None = None
    metadata: dict[str, JSON] | None = None
