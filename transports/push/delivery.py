"""Delivers webhooks with the one HTTP client: its guard checks every address it connects to."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import anyio

from ...runtime.push.ports import Answer, WebhookRefusedError
from ..client.addresses import AddressPolicy
from ..client.errors import AddressRefusedError, HttpError, UnusableAnswerError
from ..client.failures import Limits
from ..client.http import HttpClient
from ..client.urls import Url, parse

log = logging.getLogger("greenroom.push")

REFUSED = "The server does not deliver to this address"
"""All that a client learns: what stands behind its URL is none of its business."""
_RESOLVE_SECONDS = 3.0
_BODY = 64 * 1024
"""Bytes of an answer that are read; nobody looks at them, but the connection can be used again."""


class HttpDelivery:
    """Delivers (``runtime.push.ports.Deliverer``). Redirects are not followed."""

    def __init__(
        self, policy: AddressPolicy, *, timeout: float = 10.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._policy = policy
        limits = Limits(
            connect=timeout, silence=timeout, total=timeout, stream=timeout, body=_BODY, redirects=0
        )
        self._client = HttpClient(limits=limits, tls=tls, policy=policy)
        self._entered = False

    async def check(self, url: str) -> None:
        """Check the URL, and the addresses that its name has now.

        A name that has no address now may have one later: that is for the delivery to find out.
        """
        try:
            origin = self._policy.check_url(url)
            with anyio.move_on_after(_RESOLVE_SECONDS):
                for address in await _addresses(origin.host, origin.port):
                    self._policy.check_address(address, origin.host)
        except AddressRefusedError as error:
            log.info("a webhook was refused: %s", error)
            raise WebhookRefusedError(REFUSED) from None
        except HttpError:
            log.info("a webhook was refused: its url is not an http:// or https:// address")
            raise WebhookRefusedError(REFUSED) from None

    async def deliver(
        self, url: str, headers: Mapping[str, str], body: bytes, *, now: float
    ) -> Answer:
        if not self._entered:
            self._entered = True
            await self._client.__aenter__()
        try:
            self._policy.check_url(url)  # what is allowed may have changed since it was registered
            async with self._client.request("POST", url, headers=headers, body=body) as response:
                answer = Answer(
                    response.status, _seconds(response.headers.get("retry-after", ""), now)
                )
                try:
                    await response.read()
                except HttpError:
                    log.debug("a receiver ended its answer half way")
                return answer
        except AddressRefusedError:
            return Answer(error="the address is not allowed")
        except UnusableAnswerError:
            return Answer(error="the answer redirects or cannot be used")
        except HttpError as error:
            return Answer(error=_told(error, parse(url)))

    async def close(self) -> None:
        if self._entered:
            self._entered = False
            await self._client.__aexit__(None, None, None)


async def _addresses(host: str, port: int) -> list[str]:
    try:
        entries = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [entry[4][0].partition("%")[0] for entry in entries]


def _told(error: HttpError, url: Url) -> str:
    """What an operator reads: short, and of the URL no more than its origin. The path of a webhook
    may be its secret."""
    return str(error).replace(str(url), str(url.origin))[:200]


def _seconds(text: str, now: float) -> float | None:
    """Return what ``Retry-After`` asks for (RFC 9110 section 10.2.3), ``None`` if it is nothing."""
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
