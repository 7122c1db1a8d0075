"""Requests of the 1.0 model in the words of 0.3, as its three bindings write them."""

from __future__ import annotations

import json
from typing import Any

from greenroom.protocol import operations as ops
from greenroom.protocol.v03.codec import V03, V03_REST
from tests.equivalence.bindings import Grpc03


def jsonrpc(operation: ops.Operation, asked: Any) -> bytes:
    params = json.loads(V03.request(operation, asked))
    envelope = {"jsonrpc": "2.0", "id": 7, "method": operation.method_03, "params": params}
    return json.dumps(envelope).encode()


def rest(operation: ops.Operation, asked: Any) -> tuple[str, str, bytes]:
    """Return method, path and body."""
    method, path = operation.rest_03[0]
    for name in ("task_id", "id"):
        path = path.replace(f"{{{name}}}", str(getattr(asked, name, "")))
    if operation is ops.LIST_TASKS and asked.context_id:
        path += f"?contextId={asked.context_id}"
    body = V03_REST.request(operation, asked) if operation.body else b""
    return method, f"/v1{path}", body


def grpc(operation: ops.Operation, asked: Any) -> tuple[str, bytes]:
    """Return path and message."""
    binding = Grpc03.__new__(Grpc03)  # its words alone, without a server
    return binding._path(operation), binding._write(operation, asked)
