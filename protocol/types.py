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
    """The state of a task (section 4.1.3): where the task is on its way from SUBMITTED to a
    terminal state.

    The runtime has the table of transitions; here are only the names.
    """

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
    """Who wrote a message (section 4.1.5): the user or the agent."""

    UNSPECIFIED = "ROLE_UNSPECIFIED"
    USER = "ROLE_USER"
    AGENT = "ROLE_AGENT"


# --- 4.1 core objects ---------------------------------------------------------------------------


class Part(Wire):
    """A piece of content (section 4.1.6): exactly one of ``text``, ``raw`` (bytes), ``url`` and
    ``data`` (any JSON value). Files are ``raw`` or ``url``, with ``filename`` and
    ``media_type``."""

    ONEOF: ClassVar = ("text", "raw", "url", "data")

    text: str | None = None
    raw: bytes | None = None
    url: str | None = None
    data: JSON | UnsetType = UNSET
    metadata: dict[str, JSON] | None = None
    filename: str | None = None
    media_type: str | None = None


class Message(Wire):
    """What a user or an agent says in one turn (section 4.1.4): parts, and the ids of the message,
    of its context and of its task."""

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
    """A result of a task (section 4.1.7): named parts, delivered whole or in chunks."""

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
    """The state of a task, since when, and the agent's message about that state (section 4.1.2)."""

    state: TaskState
    message: Message | None = None
    timestamp: str | None = None


class Task(Wire):
    """A unit of work of an agent (section 4.1.1): its status, its artifacts and the history of its
    messages.

    ``generation`` is of 1.1, and is sent only where 1.1 was negotiated.
    """

    id: str
    status: TaskStatus
    context_id: str | None = None
    artifacts: list[Artifact] | None = None
    history: list[Message] | None = None
    metadata: dict[str, JSON] | None = None
    generation: int = 0


# --- 4.2 streaming events -----------------------------------------------------------------------


class TaskStatusUpdateEvent(Wire):
    """An event of a stream (section 4.2.1): the status of the task has changed."""

    task_id: str
    context_id: str
    status: TaskStatus
    metadata: dict[str, JSON] | None = None
    generation: int = 0


class TaskArtifactUpdateEvent(Wire):
    """An event of a stream (section 4.2.2): an artifact, or a chunk of one. ``append`` adds the
    chunk to what was sent before; ``last_chunk`` ends the artifact."""

    task_id: str
    context_id: str
    artifact: Artifact
    append: bool = False
    last_chunk: bool = False
    metadata: dict[str, JSON] | None = None
    generation: int = 0


class StreamResponse(Wire):
    """One element of a stream (section 3.2.3): exactly one member is set."""

    task: Task | None = None
    message: Message | None = None
    status_update: TaskStatusUpdateEvent | None = None
    artifact_update: TaskArtifactUpdateEvent | None = None


class SendMessageResponse(Wire):
    """The answer to SendMessage (section 3.2.3): the task or a direct message."""

    task: Task | None = None
    message: Message | None = None


# --- 4.3 push notifications ---------------------------------------------------------------------


class AuthenticationInfo(Wire):
    """How a server authenticates at a webhook (section 4.3.2): a scheme and its credentials."""

    scheme: str
    credentials: str | None = None


class TaskPushNotificationConfig(Wire):
    """Where a server pushes the events of a task (section 4.3.1): a webhook's URL, token and
    credentials."""

    url: str
    tenant: str | None = None
    id: str | None = None
    task_id: str | None = None
    token: str | None = None
    authentication: AuthenticationInfo | None = None


# --- 4.5 security objects -----------------------------------------------------------------------


class StringList(Wire):
    """A list of texts, as Protocol Buffers have it inside of a map."""

    list: _List[str] = field(default_factory=lambda: [])  # noqa: PIE807 - `list` is this field


class SecurityRequirement(Wire):
    """Schemes that must all hold, with the scopes of each (section 4.5)."""

    schemes: dict[str, StringList] = {}


class APIKeySecurityScheme(Wire):
    """An API key in a header, a query parameter or a cookie (section 4.5.2)."""

    location: str
    name: str
    description: str | None = None


class HTTPAuthSecurityScheme(Wire):
    """HTTP authentication: ``scheme`` is Basic, Bearer or another one (section 4.5.3)."""

    scheme: str
    description: str | None = None
    bearer_format: str | None = None


class AuthorizationCodeOAuthFlow(Wire):
    """The authorization code flow of OAuth 2.0 (section 4.5.8)."""

    authorization_url: str
    token_url: str
    scopes: dict[str, str]
    refresh_url: str | None = None
    pkce_required: bool = False


class ClientCredentialsOAuthFlow(Wire):
    """The client credentials flow of OAuth 2.0 (section 4.5.9)."""

    token_url: str
    scopes: dict[str, str]
    refresh_url: str | None = None


class ImplicitOAuthFlow(Wire):
    """The implicit flow of OAuth 2.0, which is deprecated."""

    authorization_url: str | None = None
    refresh_url: str | None = None
    scopes: dict[str, str] | None = None


class PasswordOAuthFlow(Wire):
    """The password flow of OAuth 2.0, which is deprecated."""

    token_url: str | None = None
    refresh_url: str | None = None
    scopes: dict[str, str] | None = None


class DeviceCodeOAuthFlow(Wire):
    """The device code flow of OAuth 2.0 (RFC 8628, section 4.5.10)."""

    device_authorization_url: str
    token_url: str
    scopes: dict[str, str]
    refresh_url: str | None = None


class OAuthFlows(Wire):
    """The flow by which a client gets its token (section 4.5.7): exactly one member is set."""

    authorization_code: AuthorizationCodeOAuthFlow | None = None
    client_credentials: ClientCredentialsOAuthFlow | None = None
    implicit: ImplicitOAuthFlow | None = None
    password: PasswordOAuthFlow | None = None
    device_code: DeviceCodeOAuthFlow | None = None


class OAuth2SecurityScheme(Wire):
    """OAuth 2.0 by one of its flows (section 4.5.4)."""

    flows: OAuthFlows
    description: str | None = None
    oauth2_metadata_url: str | None = None


class OpenIdConnectSecurityScheme(Wire):
    """OpenID Connect: ``open_id_connect_url`` is the address of the discovery document (section
    4.5.5)."""

    open_id_connect_url: str
    description: str | None = None


class MutualTlsSecurityScheme(Wire):
    """Mutual TLS: the client shows a certificate (section 4.5.6)."""

    description: str | None = None


class SecurityScheme(Wire):
    """How callers authenticate (section 4.5.1): exactly one member is set."""

    api_key_security_scheme: APIKeySecurityScheme | None = None
    http_auth_security_scheme: HTTPAuthSecurityScheme | None = None
    oauth2_security_scheme: OAuth2SecurityScheme | None = None
    open_id_connect_security_scheme: OpenIdConnectSecurityScheme | None = None
    mtls_security_scheme: MutualTlsSecurityScheme | None = None


# --- 4.4 agent discovery ------------------------------------------------------------------------


class AgentInterface(Wire):
    """An address at which an agent is served (section 4.4.6): URL, protocol binding and version."""

    url: str
    protocol_binding: str
    protocol_version: str
    tenant: str | None = None


class AgentProvider(Wire):
    """Who offers an agent (section 4.4.2): an organisation and its address."""

    url: str
    organization: str


class AgentExtension(Wire):
    """An extension that an agent supports (section 4.4.4): its URI, and whether callers must know
    it."""

    uri: str = ""  # nothing in the proto file says that there must be one
    description: str | None = None
    required: bool = False
    params: dict[str, JSON] | None = None


class AgentCapabilities(Wire):
    """Which optional features an agent has (section 4.4.3)."""

    streaming: bool | None = None
    push_notifications: bool | None = None
    extensions: list[AgentExtension] | None = None
    extended_agent_card: bool | None = None


class AgentSkill(Wire):
    """What an agent can do (section 4.4.5): an id, a name, a description, tags, examples and media
    types."""

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
    """The self-description of an agent (section 4.4.1): who it is, where it is served, what it can
    do, and how callers authenticate."""

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
    """How a send is carried out (section 3.2.2): media types that the client accepts, how much
    history the answer has, and whether it waits for the end. ``if_generation_match`` is of 1.1."""

    accepted_output_modes: list[str] | None = None
    task_push_notification_config: TaskPushNotificationConfig | None = None
    history_length: int | None = None
    return_immediately: bool = False
    if_generation_match: int | None = None


class SendMessageRequest(Wire):
    """The request of SendMessage and SendStreamingMessage (section 3.2.1): a message and its
    configuration."""

    message: Message
    tenant: str | None = None
    configuration: SendMessageConfiguration | None = None
    metadata: dict[str, JSON] | None = None


class GetTaskRequest(Wire):
    """The request of GetTask (section 3.1.3): which task, and how much of its history.
    ``current_generation`` (long-poll) is of 1.1."""

    id: str
    tenant: str | None = None
    history_length: int | None = None
    current_generation: int | None = None


class ListTasksRequest(Wire):
    """The request of ListTasks (section 3.1.4): filters, and which page."""

    tenant: str | None = None
    context_id: str | None = None
    status: TaskState | None = None
    page_size: int | None = None
    page_token: str | None = None
    history_length: int | None = None
    status_timestamp_after: str | None = None
    include_artifacts: bool | None = None


class ListTasksResponse(Wire, omit_defaults=False):
    """A page of tasks, and the token of the next one (section 3.1.4)."""

    tasks: list[Task]
    next_page_token: str
    page_size: int
    total_size: int


class CancelTaskRequest(Wire):
    """The request of CancelTask (section 3.1.5): which task."""

    id: str
    tenant: str | None = None
    metadata: dict[str, JSON] | None = None


class SubscribeToTaskRequest(Wire):
    """The request of SubscribeToTask (section 3.1.6): which task."""

    id: str
    tenant: str | None = None


class GetTaskPushNotificationConfigRequest(Wire):
    """Which push configuration of which task to read."""

    task_id: str
    id: str
    tenant: str | None = None


class DeleteTaskPushNotificationConfigRequest(Wire):
    """Which push configuration of which task to delete."""

    task_id: str
    id: str
    tenant: str | None = None


class ListTaskPushNotificationConfigsRequest(Wire):
    """Which task's push configurations to list, and which page."""

    task_id: str
    tenant: str | None = None
    page_size: int | None = None
    page_token: str | None = None


class ListTaskPushNotificationConfigsResponse(Wire):
    """A page of push configurations, and the token of the next one."""

    configs: list[TaskPushNotificationConfig] | None = None
    next_page_token: str | None = None


class GetExtendedAgentCardRequest(Wire):
    """The request of GetExtendedAgentCard (section 3.1.11)."""

    tenant: str | None = None
