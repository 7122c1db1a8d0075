"""Requests as bytes: what a client of A2A 1.0 over JSON-RPC sends, each with a fresh message id."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

_HEAD = (
    "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    "accept: application/json, text/event-stream\r\na2a-version: 1.0\r\ncontent-length: {}\r\n\r\n"
)
_PLACE = "00000000-0000-4000-8000-000000000000"
COMPLETED = b'"TASK_STATE_COMPLETED"'
INPUT_REQUIRED = b'"TASK_STATE_INPUT_REQUIRED"'


def fresh_id() -> bytes:
    """A version 4 UUID from the system's randomness; cheaper than uuid.uuid4."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}".encode()


def prepared(body: dict[str, Any]) -> Callable[[], bytes]:
    """Encode once; each call puts a fresh id where the body says `_PLACE`."""
    payload = json.dumps(body, separators=(",", ":"))
    whole = (_HEAD.format(len(payload)) + payload).encode()
    before, separator, after = whole.partition(_PLACE.encode())
    if not separator:
        return lambda: whole
    return lambda: before + fresh_id() + after


def send(
    text: str = "hello",
    *,
    stream: bool = False,
    task: tuple[str, str] | None = None,
    history_length: int | None = None,
) -> Callable[[], bytes]:
    """A message; `task` is (task id, context id) of the task it belongs to."""
    message = {"messageId": _PLACE, "role": "ROLE_USER", "parts": [{"text": text}]}
    if task:
        message["taskId"], message["contextId"] = task
    params: dict[str, Any] = {"message": message}
    if history_length is not None:
        params["configuration"] = {"historyLength": history_length}
    method = "SendStreamingMessage" if stream else "SendMessage"
    return prepared({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def fasta2a_send(text: str = "hello", *, stream: bool = False) -> Callable[[], bytes]:
    """The same in fasta2a's own dialect, which it reads without a detour."""
    message = {"messageId": _PLACE, "role": "user", "parts": [{"text": text}]}
    method = "message/stream" if stream else "message/send"
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}}
    return prepared(body)


def get_task(task_id: str) -> Callable[[], bytes]:
    return prepared({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": task_id}})
