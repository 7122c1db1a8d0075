"""What a peer answered: results, and errors in every form that servers give them.

A2A errors come as their classes. What comes from a framework or a proxy in front of the agent
(problem+json of RFC 9457, ``{"detail"}``, ``{"message"}``, plain text, HTML) is told with its
status and in its own words.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import msgspec

from ...protocol import protojson
from ...protocol.errors import (
    ERRORS,
    A2AError,
    ExtensionSupportRequiredError,
    InternalError,
    RefusedError,
)
from .errors import HttpError, StatusError

# -32010 is of servers of 0.2 and 0.3; what the draft of 1.1 has there is known by its reason.
_BY_CODE = {error.code: error for error in ERRORS} | {-32010: ExtensionSupportRequiredError}
_BY_REASON = {error.reason: error for error in ERRORS if error.reason}
_REFUSALS = {error.http: error for error in ERRORS if issubclass(error, RefusedError)}
_LONGEST = 2000
"""The most characters of a peer's error that a message repeats."""
_DEEPEST = 3
_WORDS = (
    "title",
    "detail",
    "message",
    "msg",
    "error_description",
    "error",
    "errors",
    "reason",
    "text",
)
_TITLE = re.compile(r"(?is)<title[^<>]{0,200}>(.{0,500}?)</title")
_TAG = re.compile(r"<[^<>]*>")


def plain(body: bytes) -> Any:
    """Return the JSON value in ``body``, ``None`` where it is no JSON."""
    try:
        return msgspec.json.decode(protojson.unmarked(body))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def rpc_result(body: bytes, status: int) -> bytes:
    """Return the result inside a JSON-RPC response; raises the error inside, or HttpError."""
    try:
        envelope = msgspec.json.decode(protojson.unmarked(body), type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise http_error(body, status, "JSON-RPC") from None
    error = plain(bytes(envelope["error"])) if "error" in envelope else None
    if isinstance(error, dict) and ("code" in error or "jsonrpc" in envelope):
        raise a2a_error(error)
    if error is not None or "result" not in envelope:
        raise http_error(body, status, "JSON-RPC")
    return bytes(envelope["result"])


def rest_error(body: bytes, status: int) -> Exception:
    """Return the error that an answer of HTTP+JSON with ``status`` tells."""
    value = plain(body)
    error = value.get("error", value) if isinstance(value, dict) else None  # 0.3 has it bare
    if isinstance(error, dict):
        code = error.get("code")
        if (isinstance(code, int) and code < 0) or _reason(error) is not None:
            return a2a_error(error)
    return http_error(body, status, "A2A")


def a2a_error(error: dict[str, Any]) -> A2AError:
    """Return the error that a JSON-RPC or AIP-193 error object tells."""
    code = error.get("code")
    kind = _reason(error) or (_BY_CODE.get(code) if isinstance(code, int) else None)
    message, details = _words(error.get("message")), error.get("data", error.get("details"))
    more = "" if isinstance(details, list) else _words(details)
    reason = f"{message}: {more}" if message and more and more not in message else message or more
    if not reason and (odd := error.get("message", error.get("data"))) is not None:
        reason = msgspec.json.encode(odd).decode()
    return (kind or InternalError)(reason[:_LONGEST])


def _reason(error: dict[str, Any]) -> type[A2AError] | None:
    """Return the class that ``google.rpc.ErrorInfo`` in the details names."""
    details = error.get("data", error.get("details"))
    for detail in details if isinstance(details, list) else ():
        reason = detail.get("reason") if isinstance(detail, dict) else None
        if isinstance(reason, str) and reason in _BY_REASON:
            return _BY_REASON[reason]
    return None


def error_named(reason: str) -> type[A2AError] | None:
    """Return the class of the error that ``google.rpc.ErrorInfo`` calls ``reason``."""
    return _BY_REASON.get(reason)


def http_error(body: bytes, status: int, expected: str) -> Exception:
    """Return the error that an answer without the form of ``expected`` tells."""
    reason = told_by(body)
    if status < 400:
        text = f"status {status}, and a body that is not {expected}"
        return HttpError(f"{text}: {reason}" if reason else text)
    kind = _REFUSALS.get(status)
    text = f"status {status}: {reason}" if reason else f"status {status} without a reason"
    return StatusError(text, status) if kind is None else kind(text)


def told_by(body: bytes) -> str:
    """Return what a body says, in a line of text; ``""`` where it says nothing."""
    reason = _words(plain(body))
    if not reason:
        reason = protojson.unmarked(body[:65_536]).decode(errors="replace").strip()
        if reason[:1] == "<":
            title = _TITLE.search(reason)
            reason = unescape(title[1] if title else _TAG.sub(" ", reason))
        elif reason in ("{}", "[]", "null"):
            reason = ""
    return " ".join(reason.split())[:_LONGEST]


def _words(value: Any, depth: int = 0) -> str:
    """Return the texts of an error in the members where frameworks put them."""
    if isinstance(value, str):
        return value
    if depth == _DEEPEST:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (_words(one, depth + 1) for one in value[:20])))
    if not isinstance(value, dict):
        return ""
    place = value.get("loc")  # where pydantic says that the fault is
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    reason = dict.fromkeys(_words(value.get(name), depth + 1) for name in _WORDS)
    return ": ".join(filter(None, [where, *reason]))
