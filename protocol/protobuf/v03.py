"""The field numbers of A2A 0.3 (package ``a2a.v1``), over the Structs of its proto form."""

from __future__ import annotations

from typing import Any

from ..v03 import types as w
from ..v03.reading import PROTO_STATES
from .schema import TIMESTAMP, Field, Schema, Table
from .values import read_struct, write_struct
from .wire import WireError, length, read_tag, read_varint, skip

_ROLES = ("ROLE_UNSPECIFIED", "ROLE_USER", "ROLE_AGENT")


def _write_data(value: dict[str, Any]) -> bytes:
    """``DataPart``: a message around the Struct, as the JSON of the proto form has it."""
    body = write_struct(value["data"])
    return b"\x0a" + length(len(body)) + body


def _read_data(buffer: bytes, position: int, end: int) -> dict[str, Any]:
    data: dict[str, Any] = {}
    while position < end:
        mark, position = read_tag(buffer, position)
        if mark != 0x0A:
            position = skip(buffer, position, mark)
            continue
        size, position = read_varint(buffer, position)
        if position + size > end:
            break
        data |= read_struct(buffer, position, position + size)
        position += size
    if position != end:
        raise WireError("cut off")
    return {"data": data}


TABLES: dict[type, Table] = {
    w.File: Table(
        {"file_with_uri": 1, "file_with_bytes": 2, "mime_type": 3, "name": 4},
        oneof=("file_with_uri", "file_with_bytes"),
    ),
    w.Part: Table(
        {"text": 1, "file": 2, "data": Field(3, body=(_write_data, _read_data)), "metadata": 4},
        oneof=("text", "file", "data"),
    ),
    w.Message: Table(
        {
            "message_id": 1, "context_id": 2, "task_id": 3, "role": Field(4, enum=_ROLES),
            "content": 5, "metadata": 6, "extensions": 7,
        }
    ),
    w.Artifact: Table(
        {
            "artifact_id": 1, "name": 3, "description": 4, "parts": 5, "metadata": 6,
            "extensions": 7,
        }
    ),
    w.TaskStatus: Table(
        {
            "state": Field(1, enum=tuple(PROTO_STATES)), "message": 2,
            "timestamp": Field(3, body=TIMESTAMP),
        }
    ),
    w.Task: Table(
        {"id": 1, "context_id": 2, "status": 3, "artifacts": 4, "history": 5, "metadata": 6}
    ),
    w.StatusUpdate: Table(
        {"task_id": 1, "context_id": 2, "status": 3, "final": 4, "metadata": 5}
    ),
    w.ArtifactUpdate: Table(
        {
            "task_id": 1, "context_id": 2, "artifact": 3, "append": 4, "last_chunk": 5,
            "metadata": 6,
        }
    ),
    w.Wrapped: Table(
        {"task": 1, "message": 2, "status_update": 3, "artifact_update": 4},
        oneof=("task", "message", "status_update", "artifact_update"),
    ),
    w.Authentication: Table({"schemes": 1, "credentials": 2}),
    w.PushConfig: Table({"id": 1, "url": 2, "token": 3, "authentication": 4}),
    w.TaskPushConfig: Table({"name": 1, "push_notification_config": 2}),
    w.TaskPushConfigs: Table({"configs": 1, "next_page_token": 2}),
    w.SendConfiguration: Table(
        {"accepted_output_modes": 1, "push_notification": 2, "history_length": 3, "blocking": 4}
    ),
    w.SendParams: Table({"request": 1, "configuration": 2, "metadata": 3}),
}  # fmt: skip

V0_3 = Schema(TABLES)
GET_TASK = Schema({w.IdParams: Table({"name": 1, "history_length": 2})})
LIST_PUSH = Schema({w.IdParams: Table({"parent": 1, "page_size": 2, "page_token": 3})})
_config = V0_3.message(w.TaskPushConfig)
CREATE_PUSH = Schema(
    {
        w.TaskPushConfig: Table(
            {"parent": 1, "config_id": 2, "config": Field(3, body=(_config.write, _config.read))}
        )
    }
)
"""The same Struct holds a configuration and the request that creates one."""
