"""Access tokens: kept until shortly before they expire, and fetched by one caller at a time."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode

import anyio
import msgspec
from msgspec import Struct

from ....protocol import protojson
from ..addresses import check_secret_url
from ..errors import AuthError
from ..failures import Limits
from ..http import HttpClient
from ..requests import Outgoing
from ..urls import redacted
from .challenges import challenged_scopes
from .credential import Hidden

_EARLY = 60.0
"""Seconds before its end that a token is renewed; of a short-lived one, half of its time."""
LIMITS = Limits(silence=30.0, total=30.0, body=1024 * 1024)


class Token(Struct, frozen=True):
    """What a token endpoint gave (RFC 6749 section 5.1)."""

    access: str
    refresh: str | None = None
    renew_at: float | None = None
    """When to renew it, on the monotonic clock; ``None``: when a server refuses it."""

    def __repr__(self) -> str:
        return "<Token>"


Tokens = dict[tuple[str, ...], Token]
"""Tokens of one credential by origin and scopes: clients that share a credential share them, and
none is ever sent to another origin."""


class TokenProver(Hidden):
    """Puts an access token into requests, and gets a new one once a server refuses it."""

    def __init__(self, tokens: Tokens, origin: str, scopes: tuple[str, ...]) -> None:
        self._tokens = tokens
        self._origin = origin
        self._scopes = scopes
        self._lock = anyio.Lock()

    async def apply(self, request: Outgoing) -> None:
        token = self._current()
        if token is None:
            async with self._lock:  # those who waited find what the first one fetched
                token = self._current()
                if token is None:
                    token = self._tokens[self._key()] = await self._renewed()
        request.headers["Authorization"] = f"Bearer {token.access}"

    async def refused(self, request: Outgoing, status: int, challenge: str) -> bool:
        more = tuple(scope for scope in challenged_scopes(challenge) if scope not in self._scopes)
        if more:
            self._scopes += more
            return True
        if status != 401:
            return False
        known = self._tokens.get(self._key())
        # Another request may have renewed the token meanwhile.
        if known is not None and request.headers.get("Authorization") == f"Bearer {known.access}":
            self._tokens[self._key()] = msgspec.structs.replace(known, access="")
        return True

    def _current(self) -> Token | None:
        token = self._tokens.get(self._key())
        if token is None or not token.access:
            return None
        due = token.renew_at is not None and time.monotonic() >= token.renew_at
        return None if due else token

    async def _renewed(self) -> Token:
        known = self._tokens.get(self._key())
        if known is not None and known.refresh is not None:
            try:
                return await self._refresh(known.refresh)
            except AuthError:
                del self._tokens[self._key()]  # the refresh token was used up or withdrawn
        return await self._fetch()

    def _key(self) -> tuple[str, ...]:
        return (self._origin, *self._scopes)

    @abstractmethod
    async def _fetch(self) -> Token:
        """Return a new token. Raises AuthError and HttpError."""

    @abstractmethod
    async def _refresh(self, refresh: str) -> Token:
        """Return a new token for a refresh token (RFC 6749 section 6)."""


class ClientIdentity(Hidden):
    """Who asks a token endpoint (RFC 6749 section 2.3); without a secret, a public client."""

    def __init__(self, client_id: str, secret: str | None, *, in_body: bool = False) -> None:
        self.client_id = client_id
        self._secret = secret
        self._in_body = in_body

    def sign(self, form: dict[str, str], headers: dict[str, str]) -> None:
        """Add the proof of identity to a request."""
        if self._secret is None:
            form["client_id"] = self.client_id
        elif self._in_body:
            form |= {"client_id": self.client_id, "client_secret": self._secret}
        else:
            headers["Authorization"] = _basic(self.client_id, self._secret)


def _basic(name: str, secret: str) -> str:
    pair = f"{quote_plus(name)}:{quote_plus(secret)}".encode()
    return "Basic " + msgspec.json.encode(pair).decode().strip('"')  # base64


async def ask(
    http: HttpClient, url: str, form: Mapping[str, str], identity: ClientIdentity | None
) -> tuple[int, dict[str, Any]]:
    """POST a form to an endpoint of OAuth; return the status and the JSON object of the answer.

    Raises AuthError where the address is not one for secrets or no JSON came, and HttpError.
    """
    try:
        check_secret_url(url)
    except ValueError as error:
        raise AuthError(str(error)) from None
    fields = dict(form)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if identity is not None:
        identity.sign(fields, headers)
    async with http.request(
        "POST", url, headers=headers, body=urlencode(fields).encode(), limits=LIMITS
    ) as response:
        body = await response.read()
        try:
            answer = msgspec.json.decode(protojson.unmarked(body))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise AuthError(f"{redacted(url)} answered with status {response.status} and no JSON")
        return response.status, answer


def token_of(url: str, status: int, answer: dict[str, Any]) -> Token:
    """Return the token in an answer. Raises AuthError with the reason that the endpoint gives."""
    access = answer.get("access_token")
    if status != 200 or not isinstance(access, str) or not access:
        raise AuthError(f"{redacted(url)} gave no token: {reason_of(status, answer)}")
    if str(answer.get("token_type", "Bearer")).lower() != "bearer":
        raise AuthError(f"{redacted(url)} gave a token that is no bearer token")
    refresh = answer.get("refresh_token")
    return Token(
        access,
        refresh if isinstance(refresh, str) and refresh else None,
        _renew_at(answer.get("expires_in")),
    )


def _renew_at(expires_in: object) -> float | None:
    try:
        seconds = float(expires_in)  # type: ignore[arg-type]  # some servers write a string
    except (TypeError, ValueError):
        return None
    if not 0 < seconds < 1e9:
        return None
    return time.monotonic() + seconds - min(_EARLY, seconds / 2)


def reason_of(status: int, answer: dict[str, Any]) -> str:
    """Return what an error of OAuth says (RFC 6749 section 5.2); it never repeats the request."""
    reasons = [answer.get("error"), answer.get("error_description")]
    text = ": ".join(one for one in reasons if isinstance(one, str) and one)
    return " ".join(text.split())[:500] or f"status {status}"
