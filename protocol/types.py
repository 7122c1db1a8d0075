"""The objects of A2A 1.0 (``a2a.proto``, package ``lf.a2a.v1``) and the additions of the 1.1 draft.

One Struct per message, one field per field, named as in the proto file; the JSON names are the
camelCase ones of section 5.5. This is the one inner model: other versions and bindings are codecs
at the edge. Absent and ``null`` are the same (``None``) except for ``Part.data``, where ``null`` is
a value. Timestamps are RFC 3339 text in UTC with a ``Z`` (section 5.6.1), kept as they were sent.

The file is long because the specification is; it holds no logic but small conveniences.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, dataclass_transform

from msgspec import UNSET, Struct, UnsetType, field

_List = list  # one proto field is called "list" and hides the builtin in its class
JSON = Any
"""A JSON value: None, bool, int, float, str, list or dict with str keys."""


# Type checkers do not inherit the options of a Struct; so they are told that they do.
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Wire(Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    """Base of every protocol object: immutable, camelCase on the wire, defaults omitted."""


class TaskState(StrEnum):
    """Section 4.1.3. The transition table is in ``runtime``; here are only the names."""

    UNSPECIFIED = "TASK_STATE_UNSPECIFIED"
    SUBMITTED = "TASK_STATE_SUBMITTED"
    WORKING = "TASK_STATE_WORKING"
    COMPLETED = "TASK_STATE_COMPLETED"
    FAILED = "TASK_STATE_FAILED"
    CANCELED = "TASK_STATE_CANCELED"
    INPUT_REQUIRED = "TASK_STATE_INPUT_REQUIRED"
    REJECTED = "TASK_STATE_REJECTED"
    AUTH_REQUIRED = "TASK_STATE_AUTH_REQUIRED"

    # Attributes of the members and no properties: a send asks for them a dozen times.
    terminal: bool
    """Whether the task can never change again."""
    interrupted: bool
    """Whether the task waits for its client."""


TERMINAL = frozenset(
    {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED, TaskState.REJECTED}
)
INTERRUPTED = frozenset({TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED})
for _state in TaskState:
    _state.terminal = _state in TERMINAL
    _state.interrupted = _state in INTERRUPTED


class Role(StrEnum):
    """Section 4.1.5."""

    UNSPECIFIED = "ROLE_UNSPECIFIED"
    USER = "ROLE_USER"
    AGENT = "ROLE_AGENT"


# --- 4.1 core objects ---------------------------------------------------------------------------


class Part(Wire):
    """Section 4.1.6: exactly one of ``text``, ``raw`` (bytes), ``url`` and ``data``."""

    ONEOF: ClassVar = ("text", "raw", "url", "data")

    text: str | None = None
    raw: bytes | None = None
    url: str | None = None
    data: JSON | UnsetType = UNSET
    metadata: dict[str, JSON] | None = None
    filename: str | None = None
    media_type: str | None = None


class Message(Wire):
    """Section 4.1.4."""

    message_id: str
    role: Role
    parts: list[Part]
    context_id: str | None = None
    task_id: str | None = None
    metadata: dict[str, JSON] | None = None
    extensions: list[str] | None = None
    reference_task_ids: list[str] | None = None

    @property
    def text(self) -> str:
        """The text parts, one under the other."""
        return "\n".join(part.text for part in self.parts if part.text is not None)


class Artifact(Wire):
    """Section 4.1.7."""

    artifact_id: str
    parts: list[Part]
    name: str | None = None
    description: str | None = None
    metadata: dict[str, JSON] | None = None
    extensions: list[str] | None = None

    @property
    def text(self) -> str:
        """The text parts joined as they came: chunks of one text give the text."""
        return "".join(part.text for part in self.parts if part.text is not None)


class TaskStatus(Wire):
    """Section 4.1.2."""

    state: TaskState
    message: Message | None = None
    timestamp: str | None = None


class Task(Wire):
    """Section 4.1.1. ``generation`` is of 1.1 and is sent only where that was negotiated."""

    id: str
    status: TaskStatus
    context_id: str | None = None
    artifacts: list[Artifact] | None = None
    history: list[Message] | None = None
    metadata: dict[str, JSON] | None = None
    generation: int = 0


# --- 4.2 streaming events -----------------------------------------------------------------------


class TaskStatusUpdateEvent(Wire):
    """Section 4.2.1."""

    task_id: str
    context_id: str
    status: TaskStatus
    metadata: dict[str, JSON] | None = None
    generation: int = 0


class TaskArtifactUpdateEvent(Wire):
    """Section 4.2.2."""

    task_id: str
    context_id: str
    artifact: Artifact
    append: bool = False
    last_chunk: bool = False
    metadata: dict[str, JSON] | None = None
    generation: int = 0


class StreamResponse(Wire):
    """Section 3.2.3: exactly one member."""

    task: Task | None = None
    message: Message | None = None
    status_update: TaskStatusUpdateEvent | None = None
    artifact_update: TaskArtifactUpdateEvent | None = None


class SendMessageResponse(Wire):
    """Exactly one member."""

    task: Task | None = None
    message: Message | None = None


# --- 4.3 push notifications ---------------------------------------------------------------------


class AuthenticationInfo(Wire):
    """Section 4.3.2."""

    scheme: str
    credentials: str | None = None


class TaskPushNotificationConfig(Wire):
    """Section 4.3.1."""

    url: str
    tenant: str | None = None
    id: str | None = None
    task_id: str | None = None
    token: str | None = None
    authentication: AuthenticationInfo | None = None


# --- 4.5 security objects -----------------------------------------------------------------------


class StringList(Wire):
    list: _List[str] = field(default_factory=lambda: [])  # noqa: PIE807 - `list` is this field


class SecurityRequirement(Wire):
    """Schemes that must all hold, with the scopes of each (section 4.5)."""

    schemes: dict[str, StringList] = {}


class APIKeySecurityScheme(Wire):
    location: str
    name: str
    description: str | None = None


class HTTPAuthSecurityScheme(Wire):
    scheme: str
    description: str | None = None
    bearer_format: str | None = None


class AuthorizationCodeOAuthFlow(Wire):
    authorization_url: str
    token_url: str
    scopes: dict[str, str]
    refresh_url: str | None = None
    pkce_required: bool = False


class ClientCredentialsOAuthFlow(Wire):
    token_url: str
    scopes: dict[str, str]
    refresh_url: str | None = None


class ImplicitOAuthFlow(Wire):
    authorization_url: str | None = None
    refresh_url: str | None = None
    scopes: dict[str, str] | None = None


class PasswordOAuthFlow(Wire):
    token_url: str | None = None
    refresh_url: str | None = None
    scopes: dict[str, str] | None = None


class DeviceCodeOAuthFlow(Wire):
    device_authorization_url: str
    token_url: str
    scopes: dict[str, str]
    refresh_url: str | None = None


class OAuthFlows(Wire):
    """Exactly one member."""

    authorization_code: AuthorizationCodeOAuthFlow | None = None
    client_credentials: ClientCredentialsOAuthFlow | None = None
    implicit: ImplicitOAuthFlow | None = None
    password: PasswordOAuthFlow | None = None
    device_code: DeviceCodeOAuthFlow | None = None


class OAuth2SecurityScheme(Wire):
    flows: OAuthFlows
    description: str | None = None
    oauth2_metadata_url: str | None = None


class OpenIdConnectSecurityScheme(Wire):
    open_id_connect_url: str
    description: str | None = None


class MutualTlsSecurityScheme(Wire):
    description: str | None = None


class SecurityScheme(Wire):
    """Section 4.5.1: exactly one member."""

    api_key_security_scheme: APIKeySecurityScheme | None = None
    http_auth_security_scheme: HTTPAuthSecurityScheme | None = None
    oauth2_security_scheme: OAuth2SecurityScheme | None = None
    open_id_connect_security_scheme: OpenIdConnectSecurityScheme | None = None
    mtls_security_scheme: MutualTlsSecurityScheme | None = None


# --- 4.4 agent discovery ------------------------------------------------------------------------


class AgentInterface(Wire):
    """Section 4.4.6."""

    url: str
    protocol_binding: str
    protocol_version: str
    tenant: str | None = None


class AgentProvider(Wire):
    url: str
    organization: str


class AgentExtension(Wire):
    uri: str = ""  # nothing in the proto file says that there must be one
    description: str | None = None
    required: bool = False
    params: dict[str, JSON] | None = None


class AgentCapabilities(Wire):
    streaming: bool | None = None
    push_notifications: bool | None = None
    extensions: list[AgentExtension] | None = None
    extended_agent_card: bool | None = None


class AgentSkill(Wire):
    """Section 4.4.5."""

    id: str
    name: str
    description: str
    tags: list[str]
    examples: list[str] | None = None
    input_modes: list[str] | None = None
    output_modes: list[str] | None = None
    security_requirements: list[SecurityRequirement] | None = None


class AgentCardSignature(Wire):
    """Section 4.4.7: a detached JWS (RFC 7515)."""

    protected: str
    signature: str
    header: dict[str, JSON] | None = None


class AgentCard(Wire):
    """Section 4.4.1."""

    name: str
    description: str
    supported_interfaces: list[AgentInterface]
    version: str
    capabilities: AgentCapabilities
    default_input_modes: list[str]
    default_output_modes: list[str]
    skills: list[AgentSkill]
    provider: AgentProvider | None = None
    documentation_url: str | None = None
    security_schemes: dict[str, SecurityScheme] | None = None
    security_requirements: list[SecurityRequirement] | None = None
    signatures: list[AgentCardSignature] | None = None
    icon_url: str | None = None


# --- requests: one per operation ----------------------------------------------------------------


class SendMessageConfiguration(Wire):
    """Section 3.2.2. ``if_generation_match`` is of 1.1."""

    accepted_output_modes: list[str] | None = None
    task_push_notification_config: TaskPushNotificationConfig | None = None
    history_length: int | None = None
    return_immediately: bool = False
    if_generation_match: int | None = None


class SendMessageRequest(Wire):
    """Section 3.2.1; of SendMessage and SendStreamingMessage."""

    message: Message
    tenant: str | None = None
    configuration: SendMessageConfiguration | None = None
    metadata: dict[str, JSON] | None = None


class GetTaskRequest(Wire):
    """Section 3.1.3. ``current_generation`` (long-poll) is of 1.1."""

    id: str
    tenant: str | None = None
    history_length: int | None = None
    current_generation: int | None = None


class ListTasksRequest(Wire):
    """Section 3.1.4."""

    tenant: str | None = None
    context_id: str | None = None
    status: TaskState | None = None
    page_size: int | None = None
    page_token: str | None = None
    history_length: int | None = None
    status_timestamp_after: str | None = None
    include_artifacts: bool | None = None


class ListTasksResponse(Wire, omit_defaults=False):
    tasks: list[Task]
    next_page_token: str
    page_size: int
    total_size: int


class CancelTaskRequest(Wire):
    id: str
    tenant: str | None = None
    metadata: dict[str, JSON] | None = None


class SubscribeToTaskRequest(Wire):
    id: str
    tenant: str | None = None


class GetTaskPushNotificationConfigRequest(Wire):
    task_id: str
    id: str
    tenant: str | None = None


class DeleteTaskPushNotificationConfigRequest(Wire):
    task_id: str
    id: str
    tenant: str | None = None


class ListTaskPushNotificationConfigsRequest(Wire):
    task_id: str
    tenant: str | None = None
    page_size: int | None = None
    page_token: str | None = None


class ListTaskPushNotificationConfigsResponse(Wire):
    configs: list[TaskPushNotificationConfig] | None = None
    next_page_token: str | None = None


class GetExtendedAgentCardRequest(Wire):
    tenant: str | None = None
