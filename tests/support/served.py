"""The handle of a server that a test runs; ``servers.py`` has the ways to run one."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import grpc.aio

from greenroom.protocol import operations as ops
from greenroom.transports.client.http import request
from tests.support.clients import CLIENTS, Answer, Response


class Served:
    """A server that runs."""

    url: str
    """Where its HTTP is; requests go below it."""
    grpc_port: int = 0
    """0: it serves no gRPC."""
    tls: ssl.SSLContext | None = None
    credentials: grpc.ChannelCredentials | None = None

    async def call(
        self,
        binding: str,
        operation: ops.Operation,
        asked: Any,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        agent: str = "/a2a",
    ) -> Answer:
        """Carry out an operation; of a stream the first event is the answer."""
        return await CLIENTS[binding].call(self, operation, asked, headers or {}, query, agent)

    def open(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> AbstractAsyncContextManager[Response]:
        """Make one request of HTTP and stay with its answer."""
        return request(method, f"{self.url}{target}", headers=headers, body=body, tls=self.tls)

    def channel(self) -> grpc.aio.Channel:
        address = f"127.0.0.1:{self.grpc_port}"
        if self.credentials is None:
            return grpc.aio.insecure_channel(address)
        return grpc.aio.secure_channel(address, self.credentials)
