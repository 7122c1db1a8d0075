"""The field numbers of A2A 1.0 and the 1.1 draft (``a2a.proto``, package ``lf.a2a.v1``)."""

from __future__ import annotations

from .. import types as t
from .schema import TIMESTAMP, Field, Schema, Table

_WIDE = frozenset({"generation", "if_generation_match", "current_generation"})
_FLOWS = ("authorization_code", "client_credentials", "implicit", "password", "device_code")
_SCHEMES = (
    "api_key_security_scheme", "http_auth_security_scheme", "oauth2_security_scheme",
    "open_id_connect_security_scheme", "mtls_security_scheme",
)  # fmt: skip


def _numbered(*names: str, oneof: bool = False, optional: tuple[str, ...] = ()) -> Table:
    """Fields numbered from 1 in the order given."""
    numbers = {
        name: Field(number, wide=name in _WIDE) for number, name in enumerate(names, start=1)
    }
    return Table(numbers, names if oneof else (), optional)


TABLES: dict[type, Table] = {
    # --- objects --------------------------------------------------------------------------------
    t.Part: Table(
        {"text": 1, "raw": 2, "url": 3, "data": 4, "metadata": 5, "filename": 6, "media_type": 7},
        oneof=t.Part.ONEOF,
    ),
    t.Message: _numbered(
        "message_id", "context_id", "task_id", "role", "parts", "metadata", "extensions",
        "reference_task_ids",
    ),
    t.Artifact: _numbered(
        "artifact_id", "name", "description", "parts", "metadata", "extensions"
    ),
    t.TaskStatus: Table({"state": 1, "message": 2, "timestamp": Field(3, body=TIMESTAMP)}),
    t.Task: _numbered(
        "id", "context_id", "status", "artifacts", "history", "metadata", "generation"
    ),
    t.TaskStatusUpdateEvent: _numbered(
        "task_id", "context_id", "status", "metadata", "generation"
    ),
    t.TaskArtifactUpdateEvent: _numbered(
        "task_id", "context_id", "artifact", "append", "last_chunk", "metadata", "generation"
    ),
    t.StreamResponse: _numbered(
        "task", "message", "status_update", "artifact_update", oneof=True
    ),
    t.SendMessageResponse: _numbered("task", "message", oneof=True),
    # --- push notifications ---------------------------------------------------------------------
    t.AuthenticationInfo: _numbered("scheme", "credentials"),
    t.TaskPushNotificationConfig: _numbered(
        "tenant", "id", "task_id", "url", "token", "authentication"
    ),
    # --- cards ----------------------------------------------------------------------------------
    t.StringList: _numbered("list"),
    t.SecurityRequirement: _numbered("schemes"),
    t.APIKeySecurityScheme: _numbered("description", "location", "name"),
    t.HTTPAuthSecurityScheme: _numbered("description", "scheme", "bearer_format"),
    t.AuthorizationCodeOAuthFlow: _numbered(
        "authorization_url", "token_url", "refresh_url", "scopes", "pkce_required"
    ),
    t.ClientCredentialsOAuthFlow: _numbered("token_url", "refresh_url", "scopes"),
    t.ImplicitOAuthFlow: _numbered("authorization_url", "refresh_url", "scopes"),
    t.PasswordOAuthFlow: _numbered("token_url", "refresh_url", "scopes"),
    t.DeviceCodeOAuthFlow: _numbered(
        "device_authorization_url", "token_url", "refresh_url", "scopes"
    ),
    t.OAuthFlows: _numbered(*_FLOWS, oneof=True),
    t.OAuth2SecurityScheme: _numbered("description", "flows", "oauth2_metadata_url"),
    t.OpenIdConnectSecurityScheme: _numbered("description", "open_id_connect_url"),
    t.MutualTlsSecurityScheme: _numbered("description"),
    t.SecurityScheme: _numbered(*_SCHEMES, oneof=True),
    t.AgentInterface: _numbered("url", "protocol_binding", "tenant", "protocol_version"),
    t.AgentProvider: _numbered("url", "organization"),
    t.AgentExtension: _numbered("uri", "description", "required", "params"),
    t.AgentCapabilities: _numbered(
        "streaming", "push_notifications", "extensions", "extended_agent_card"
    ),
    t.AgentSkill: _numbered(
        "id", "name", "description", "tags", "examples", "input_modes", "output_modes",
        "security_requirements",
    ),
    t.AgentCardSignature: _numbered("protected", "signature", "header"),
    t.AgentCard: _numbered(
        "name", "description", "supported_interfaces", "provider", "version",
        "documentation_url", "capabilities", "security_schemes", "security_requirements",
        "default_input_modes", "default_output_modes", "skills", "signatures", "icon_url",
        optional=("documentation_url", "icon_url"),
    ),
    # --- requests -------------------------------------------------------------------------------
    t.SendMessageConfiguration: _numbered(
        "accepted_output_modes", "task_push_notification_config", "history_length",
        "return_immediately", "if_generation_match",
    ),
    t.SendMessageRequest: _numbered("tenant", "message", "configuration", "metadata"),
    t.GetTaskRequest: _numbered("tenant", "id", "history_length", "current_generation"),
    t.ListTasksRequest: Table(
        {
            "tenant": 1, "context_id": 2, "status": 3, "page_size": 4, "page_token": 5,
            "history_length": 6, "status_timestamp_after": Field(7, body=TIMESTAMP),
            "include_artifacts": 8,
        }
    ),
    t.ListTasksResponse: _numbered("tasks", "next_page_token", "page_size", "total_size"),
    t.CancelTaskRequest: _numbered("tenant", "id", "metadata"),
    t.SubscribeToTaskRequest: _numbered("tenant", "id"),
    t.GetTaskPushNotificationConfigRequest: _numbered("tenant", "task_id", "id"),
    t.DeleteTaskPushNotificationConfigRequest: _numbered("tenant", "task_id", "id"),
    t.ListTaskPushNotificationConfigsRequest: _numbered(
        "task_id", "page_size", "page_token", "tenant"
    ),
    t.ListTaskPushNotificationConfigsResponse: _numbered("configs", "next_page_token"),
    t.GetExtendedAgentCardRequest: _numbered("tenant"),
}  # fmt: skip

V1_1 = Schema(TABLES)
V1_0 = Schema(TABLES, without=frozenset({"generation"}))
"""1.0 reads and writes no generations; the guards of 1.1 are honoured all the same."""
