"""Every error that may cross the wire, and the one table of its codes (sections 3.3.2 and 5.4).

Raise the class; the binding looks its numbers up here. ``message`` is safe to show to the caller.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .values import mend, mend_all

ERROR_DOMAIN = "a2a-protocol.org"
MAX_FAULTS = 20
"""The most violations that an error of one request names."""


class A2AError(Exception):
    """Base of the errors that a peer may see.

    Class fields: ``code`` (JSON-RPC), ``http`` (status), ``grpc`` (status name), ``reason``
    (``google.rpc.ErrorInfo``; empty where the specification gives none).
    """

    code: ClassVar[int] = -32603
    http: ClassVar[int] = 500
    grpc: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = ""
    default: ClassVar[str] = "Internal error"

    def __init__(self, message: str = "", **metadata: str) -> None:
        """``metadata`` goes to the caller in ``ErrorInfo.metadata`` (camelCase keys)."""
        self.message = mend(message) or self.default
        self.metadata: dict[str, str] = mend_all(metadata) if metadata else metadata
        super().__init__(self.message)


class InternalError(A2AError):
    """A fault of this server. The message carries an error id, never the cause."""


class ParseError(A2AError):
    code, http, grpc = -32700, 400, "INVALID_ARGUMENT"
    default = "Invalid JSON payload"


class InvalidRequestError(A2AError):
    code, http, grpc = -32600, 400, "INVALID_ARGUMENT"
    default = "Request payload validation error"


class MethodNotFoundError(A2AError):
    code, http, grpc = -32601, 404, "UNIMPLEMENTED"
    default = "Method not found"


class InvalidParamsError(A2AError):
    """``violations`` are (path of the field, what is wrong with it)."""

    code, http, grpc = -32602, 400, "INVALID_ARGUMENT"
    reason, default = "INVALID_PARAMS", "Invalid parameters"

    def __init__(self, message: str = "", *, field: str = "", **metadata: str) -> None:
        super().__init__(message, **metadata)
        self.violations: list[tuple[str, str]] = [(field, self.message)] if field else []

    @classmethod
    def of(cls, violations: list[tuple[str, str]]) -> InvalidParamsError:
        """Return the error that tells the first ``MAX_FAULTS`` of ``violations``.

        An empty path is the whole object.
        """
        path, text = violations[0]
        error = cls(f"{cls.default}: {path} {text}" if path else f"{cls.default}: {text}")
        error.violations = [one for one in violations[:MAX_FAULTS] if one[0]]
        return error


class TaskNotFoundError(A2AError):
    code, http, grpc = -32001, 404, "NOT_FOUND"
    reason, default = "TASK_NOT_FOUND", "Task not found"


class TaskNotCancelableError(A2AError):
    code, http, grpc = -32002, 400, "FAILED_PRECONDITION"
    reason, default = "TASK_NOT_CANCELABLE", "Task cannot be canceled"


class PushNotificationNotSupportedError(A2AError):
    code, http, grpc = -32003, 400, "FAILED_PRECONDITION"
    reason, default = "PUSH_NOTIFICATION_NOT_SUPPORTED", "Push notifications are not supported"


class UnsupportedOperationError(A2AError):
    code, http, grpc = -32004, 400, "FAILED_PRECONDITION"
    reason, default = "UNSUPPORTED_OPERATION", "This operation is not supported"


class ContentTypeNotSupportedError(A2AError):
    code, http, grpc = -32005, 400, "INVALID_ARGUMENT"
    reason, default = "CONTENT_TYPE_NOT_SUPPORTED", "Content type not supported"


class InvalidAgentResponseError(A2AError):
    code, http, grpc = -32006, 500, "INTERNAL"
    reason, default = "INVALID_AGENT_RESPONSE", "The agent returned an invalid response"


class ExtendedAgentCardNotConfiguredError(A2AError):
    code, http, grpc = -32007, 400, "FAILED_PRECONDITION"
    reason = "EXTENDED_AGENT_CARD_NOT_CONFIGURED"
    default = "No extended agent card is configured"


class ExtensionSupportRequiredError(A2AError):
    code, http, grpc = -32008, 400, "FAILED_PRECONDITION"
    reason, default = "EXTENSION_SUPPORT_REQUIRED", "A required extension was not declared"


class VersionNotSupportedError(A2AError):
    code, http, grpc = -32009, 400, "FAILED_PRECONDITION"
    reason, default = "VERSION_NOT_SUPPORTED", "This protocol version is not supported"


class TaskGenerationMismatchError(A2AError):
    """Of the 1.1 draft."""

    code, http, grpc = -32010, 409, "ABORTED"
    reason, default = "TASK_GENERATION_MISMATCH", "The task has changed since"


class RefusedError(A2AError):
    """Refused at the gate, before any operation: an HTTP status on every HTTP binding."""

    headers: dict[str, str]

    def __init__(
        self, message: str = "", *, headers: dict[str, str] | None = None, **metadata: str
    ) -> None:
        super().__init__(message, **metadata)
        self.headers = headers or {}


class UnauthenticatedError(RefusedError):
    code, http, grpc = -32020, 401, "UNAUTHENTICATED"
    reason, default = "UNAUTHENTICATED", "Authentication is required"


class PermissionDeniedError(RefusedError):
    code, http, grpc = -32021, 403, "PERMISSION_DENIED"
    reason, default = "PERMISSION_DENIED", "Permission denied"


class PayloadTooLargeError(RefusedError):
    code, http, grpc = -32022, 413, "RESOURCE_EXHAUSTED"
    reason, default = "PAYLOAD_TOO_LARGE", "The request body is too large"


class ResourceExhaustedError(RefusedError):
    """A limit of rate, number or length was reached; ``Retry-After`` says when to come back."""

    code, http, grpc = -32023, 429, "RESOURCE_EXHAUSTED"
    reason, default = "RESOURCE_EXHAUSTED", "Too many requests"


class UnavailableError(RefusedError):
    """The server is draining or its store cannot be reached: try again elsewhere or later."""

    code, http, grpc = -32024, 503, "UNAVAILABLE"
    reason, default = "UNAVAILABLE", "The server is not available at the moment"


def details(error: A2AError) -> list[dict[str, Any]]:
    """Return the ``google.rpc`` details of an error in ProtoJSON ``Any`` form."""
    entries: list[dict[str, Any]] = []
    if error.reason:
        info: dict[str, Any] = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": error.reason,
            "domain": ERROR_DOMAIN,
        }
        if error.metadata:
            info["metadata"] = error.metadata
        entries.append(info)
    violations = getattr(error, "violations", None)
    if violations:
        entries.append(
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [
                    {"field": path, "description": text} for path, text in violations
                ],
            }
        )
    return entries


ERRORS: tuple[type[A2AError], ...] = (
    InternalError,
    ParseError,
    InvalidRequestError,
    MethodNotFoundError,
    InvalidParamsError,
    TaskNotFoundError,
    TaskNotCancelableError,
    PushNotificationNotSupportedError,
    UnsupportedOperationError,
    ContentTypeNotSupportedError,
    InvalidAgentResponseError,
    ExtendedAgentCardNotConfiguredError,
    ExtensionSupportRequiredError,
    VersionNotSupportedError,
    TaskGenerationMismatchError,
    UnauthenticatedError,
    PermissionDeniedError,
    PayloadTooLargeError,
    ResourceExhaustedError,
    UnavailableError,
)
"""Every class once: clients find the class by code or reason here."""
