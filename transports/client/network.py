"""The network beneath httpcore2: resolve, check every answer, connect to what was checked."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import anyio
import anyio.abc
import httpcore2

from .addresses import ANY, AddressPolicy
from .errors import AddressRefusedError, HttpError

_NEXT_ADDRESS = 0.25
"""Seconds until the next address is tried beside one that is silent (RFC 8305)."""

_Option = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Connects as ``policy`` allows, on every event loop that anyio knows."""

    def __init__(self, policy: AddressPolicy = ANY) -> None:
        self._policy = policy
        self._sockets: Any = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[_Option] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to an address of ``host``. Raises AddressRefusedError, HttpError and what
        httpcore2 raises."""
        host = host.strip("[]")
        try:
            with anyio.fail_after(timeout):
                addresses = await self._resolve(host, port)
                for address in addresses:
                    self._policy.check_address(address, host)
                return await self._first(addresses, host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(error) from error

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def _resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of ``host``, those of the two families in turn."""
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        try:
            entries = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise HttpError(f"cannot connect to {host}:{port}: no address ({why})") from error
        names = [entry[4][0].partition("%")[0] for entry in entries]
        six = list(dict.fromkeys(name for name in names if ":" in name))
        four = list(dict.fromkeys(name for name in names if ":" not in name))
        both = [one for pair in zip(six, four, strict=False) for one in pair]
        return list(dict.fromkeys([*both, *six, *four]))

    async def _first(
        self, addresses: list[str], host: str, port: int
    ) -> httpcore2.AsyncNetworkStream:
        """Return the connection that stands first; begin the next try when one fails or waits."""
        if len(addresses) == 1:
            return self._confirmed(await self._sockets.connect_tcp(addresses[0], port), addresses)
        won: list[httpcore2.AsyncNetworkStream] = []
        failed: list[Exception] = []

        async def attempt(address: str, over: anyio.Event) -> None:
            try:
                stream = await self._sockets.connect_tcp(address, port)
            except Exception as error:  # told if no address answers
                failed.append(error)
            else:
                if won:
                    await stream.aclose()
                else:
                    won.append(stream)
                    tries.cancel_scope.cancel()
            finally:
                over.set()

        try:
            async with anyio.create_task_group() as tries:
                for address in addresses:
                    over = anyio.Event()
                    tries.start_soon(attempt, address, over)
                    with anyio.move_on_after(_NEXT_ADDRESS):
                        await over.wait()
        except BaseException:  # the caller went away in the moment of success
            for stream in won:
                await stream.aclose()
            raise
        if not won:
            raise failed[0] if failed else httpcore2.ConnectError(f"{host} has no address")
        return self._confirmed(won[0], addresses)

    def _confirmed(
        self, stream: httpcore2.AsyncNetworkStream, addresses: list[str]
    ) -> httpcore2.AsyncNetworkStream:
        """Return ``stream`` if its other end is an address that was checked."""
        there: Any = stream.get_extra_info("server_addr")
        if ip_address(there[0].partition("%")[0]) not in map(ip_address, addresses):
            raise AddressRefusedError(f"the connection leads to {there[0]}, which was not checked")
        return _Socket(stream)


class _Socket(httpcore2.AsyncNetworkStream):
    """A connection that a cancelled TLS handshake does not leave open.

    httpcore2 writes the head of a request and then its body. The head of a POST is held until the
    body comes, so that both leave in one packet: a second one costs both sides a fifth of a call.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._head = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if (
            buffer.startswith(b"POST ")
            and not self._head
            and b"\r\nContent-Length: 0" not in buffer
        ):
            self._head = buffer
            return
        head, self._head = self._head, b""
        await self._stream.write(head + buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return _Socket(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise
