"""JSON from the servers that vouch for callers: small answers, short waits."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from ...protocol.protojson import unmarked
from ..client.http import HttpError, Limits, request

_LIMITS = Limits(connect=5.0, silence=10.0, total=15.0, body=1024 * 1024)


class FetchError(Exception):
    """No usable answer. The text is for the log."""


async def get_json(url: str, *, tls: ssl.SSLContext | None = None) -> dict[str, Any]:
    """Return the JSON object at ``url``; raises FetchError."""
    return await _json("GET", url, {}, b"", tls)


async def post_form(
    url: str,
    form: Mapping[str, str],
    *,
    headers: Mapping[str, str],
    tls: ssl.SSLContext | None = None,
) -> dict[str, Any]:
    """Post a form and return the JSON object of the answer; raises FetchError."""
    fields = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    return await _json("POST", url, fields, urlencode(form).encode(), tls)


async def _json(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    tls: ssl.SSLContext | None,
) -> dict[str, Any]:
    fields = {**headers, "Accept": "application/json"}
    try:
        async with request(
            method, url, headers=fields, body=body, limits=_LIMITS, tls=tls
        ) as response:
            answer = await response.read()
    except HttpError as error:
        raise FetchError(f"{url}: {error}") from error
    if response.status != 200:
        raise FetchError(f"{url} answered with status {response.status}")
    try:
        decoded = msgspec.json.decode(unmarked(answer))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FetchError(f"{url} answered with something that is no JSON") from None
    if not isinstance(decoded, dict):
        raise FetchError(f"{url} answered with JSON that is no object")
    return decoded
