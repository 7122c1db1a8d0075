"""Errors as the a2a-cli specification has them: a code, a hint, and the exit code."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ...client import AuthError, HttpError, PeerError
from ...protocol.errors import A2AError, PermissionDeniedError, UnauthenticatedError
from ..terminal import note, show_json

FAILED, USAGE, UNREACHABLE, AUTH, TIMEOUT = 1, 2, 3, 4, 5


class Failure(NamedTuple):
    code: str
    message: str
    exit: int
    hint: str | None = None
    a2a_code: int | None = None


def failure_of(error: BaseException, *, credentials: bool) -> Failure:
    """Return what ``error`` means; ``credentials``: whether the user gave some."""
    text = str(error) or type(error).__name__
    if isinstance(error, UnauthenticatedError | PermissionDeniedError | AuthError):
        if credentials:
            return Failure("A2ACLI_ERR_AUTH_FAILED", text, AUTH)
        hint = "give a credential: --bearer TOKEN, --api-key KEY, or `greenroom auth login`"
        return Failure("A2ACLI_ERR_CREDENTIALS_MISSING", text, AUTH, hint)
    if isinstance(error, A2AError):
        return Failure(type(error).__name__, text, FAILED, None, error.code)
    if isinstance(error, TimeoutError):
        hint = "the task may still go on: greenroom task get --wait ID"
        return Failure("A2ACLI_ERR_TIMEOUT", "the time-out is over", TIMEOUT, hint)
    if isinstance(error, HttpError):
        return Failure("A2ACLI_ERR_UNREACHABLE", text, UNREACHABLE)
    if isinstance(error, PeerError):
        return Failure("A2ACLI_ERR_CARD_NOT_FOUND", text, UNREACHABLE)
    if isinstance(error, ValueError | OSError):
        return Failure("A2ACLI_ERR_USAGE", text, USAGE)
    return Failure("A2ACLI_ERR_INTERNAL", text, FAILED)


KNOWN = (A2AError, HttpError, PeerError, TimeoutError, ValueError, OSError)
"""What a command tells as a failure; everything else is a fault of ours and shows its traceback."""


def tell(failure: Failure, *, json: bool) -> int:
    """Print ``failure``; return the exit code."""
    if json:
        error = {
            "code": failure.code,
            "message": failure.message,
            "hint": failure.hint,
            "a2aCode": failure.a2a_code,
        }
        show_json(msgspec.json.encode({"error": error}).decode())
    note(f"greenroom: {failure.message} ({failure.code})")
    if failure.hint:
        note(failure.hint)
    return failure.exit
