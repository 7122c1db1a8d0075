"""The table of section 5.4, written down once more, and what a refusal must look like."""

from __future__ import annotations

from .dialects import JSONRPC_03, REST, REST_03, Answer, Dialect, Fault

# name: JSON-RPC code, HTTP status, gRPC status, reason
ERRORS = {
    "TaskNotFound": (-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND"),
    "TaskNotCancelable": (-32002, 400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE"),
    "PushNotificationNotSupported": (
        -32003, 400, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED",
    ),
    "UnsupportedOperation": (-32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION"),
    "ContentTypeNotSupported": (-32005, 400, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED"),
    "InvalidAgentResponse": (-32006, 500, "INTERNAL", "INVALID_AGENT_RESPONSE"),
    "ExtendedAgentCardNotConfigured": (
        -32007, 400, "FAILED_PRECONDITION", "EXTENDED_AGENT_CARD_NOT_CONFIGURED",
    ),
    "ExtensionSupportRequired": (
        -32008, 400, "FAILED_PRECONDITION", "EXTENSION_SUPPORT_REQUIRED",
    ),
    "VersionNotSupported": (-32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
}  # fmt: skip
# Section 9.5 gives these codes; the statuses are those of their gRPC names.
STANDARD = {
    "InvalidParams": (-32602, 400, "INVALID_ARGUMENT"),
    "Internal": (-32603, 500, "INTERNAL"),
}


def refused(dialect: Dialect, answer: Answer, name: str) -> Fault:
    """Assert that ``answer`` is the error called ``name`` in this dialect, and return it."""
    fault = answer.fault
    assert fault is not None, f"not refused: {answer.raw or answer.result}"
    code, http, grpc, reason = ERRORS.get(name) or (*STANDARD[name], "")
    if name == "ExtensionSupportRequired" and _keeps_its_own_reason(dialect):
        code = -32010  # what the clients of 0.3 know
    over_rest = dialect in (REST, REST_03)
    assert answer.response.status == (http if over_rest else 200), answer.raw
    assert fault.code == (http if dialect is REST else code), answer.raw
    assert fault.status == (grpc if dialect is REST else None)
    assert fault.message
    kinds = ["application/json"]
    if dialect is JSONRPC_03:  # a streaming method's refusal is an event there
        kinds.append("text/event-stream")
    assert answer.response["content-type"] in kinds
    for detail in fault.details:  # section 3.3.2
        assert detail["@type"].startswith("type.googleapis.com/google.rpc.")
    if reason and not _keeps_its_own_reason(dialect):
        info = fault.info
        assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
        assert info["domain"] == "a2a-protocol.org"
        assert info["reason"] == reason
    return fault


def _keeps_its_own_reason(dialect: Dialect) -> bool:
    """0.3 knows no reasons: its errors are their codes."""
    return dialect in (JSONRPC_03, REST_03)
