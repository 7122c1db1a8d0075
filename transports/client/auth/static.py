"""Credentials that are known from the start: a token, a password, a key, or a function of yours."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from urllib.parse import quote

from ....protocol.types import SecurityScheme
from ..errors import AuthError
from ..requests import Outgoing
from .credential import Binding, Hidden, Prover

_LOCATIONS = ("header", "query", "cookie")


class Bearer(Hidden):
    """A token that somebody else obtained (RFC 6750)."""

    def __init__(self, token: str) -> None:
        self._token = token

    def fits(self, scheme: SecurityScheme) -> bool:
        http = scheme.http_auth_security_scheme
        if http is not None:
            return http.scheme.lower() == "bearer"
        return (
            scheme.oauth2_security_scheme is not None
            or scheme.open_id_connect_security_scheme is not None
        )

    def bind(self, binding: Binding) -> Prover:
        return _Header("Authorization", f"Bearer {self._token}")


class Basic(Hidden):
    """A user name and a password (RFC 7617)."""

    def __init__(self, username: str, password: str) -> None:
        self._pair = f"{username}:{password}"

    def fits(self, scheme: SecurityScheme) -> bool:
        http = scheme.http_auth_security_scheme
        return http is not None and http.scheme.lower() == "basic"

    def bind(self, binding: Binding) -> Prover:
        return _Header("Authorization", f"Basic {b64encode(self._pair.encode()).decode()}")


class ApiKey(Hidden):
    """A key in a header, the query or a cookie.

    Without ``name`` and ``location`` the card says where the key goes, else it goes into the
    header ``X-API-Key``.
    """

    def __init__(self, key: str, *, name: str | None = None, location: str | None = None) -> None:
        """``location`` is header, query or cookie; raises ValueError for another one."""
        if location is not None and location not in _LOCATIONS:
            raise ValueError(f"the location of an API key is one of {', '.join(_LOCATIONS)}")
        self._key = key
        self._name = name
        self._location = location

    def fits(self, scheme: SecurityScheme) -> bool:
        asked = scheme.api_key_security_scheme
        return (
            asked is not None
            and self._name in (None, asked.name)
            and self._location in (None, asked.location)
        )

    def bind(self, binding: Binding) -> Prover:
        asked = None if binding.scheme is None else binding.scheme.api_key_security_scheme
        name = self._name or (asked.name if asked is not None else "X-API-Key")
        location = self._location or (asked.location if asked is not None else "header")
        if location == "query":
            return _Query(name, self._key)
        if location == "cookie":
            return _Header("Cookie", f"{name}={self._key}", joined="; ")
        return _Header(name, self._key)


Proof = str | Mapping[str, str]
"""A bearer token, or header fields."""


class Callback(Hidden):
    """A function that returns a bearer token, or header fields; it is called for every request.

    It is called again, once, when the server answers with 401.
    """

    def __init__(self, function: Callable[[], Proof | Awaitable[Proof]]) -> None:
        self._function = function

    def fits(self, scheme: SecurityScheme) -> bool:
        return scheme.mtls_security_scheme is None

    def bind(self, binding: Binding) -> Prover:
        return self

    async def apply(self, request: Outgoing) -> None:
        proof = self._function()
        if isawaitable(proof):
            proof = await proof
        if isinstance(proof, str):
            request.headers["Authorization"] = f"Bearer {proof}"
        elif isinstance(proof, Mapping):
            request.headers.update(proof)
        else:
            raise AuthError("the function for credentials must return a token or header fields")

    async def refused(self, request: Outgoing, status: int, challenge: str) -> bool:
        return status == 401


class _Header(Hidden):
    def __init__(self, name: str, value: str, joined: str = "") -> None:
        self._name = name
        self._value = value
        self._joined = joined

    async def apply(self, request: Outgoing) -> None:
        there = request.headers.get(self._name) if self._joined else None
        value = self._value if there is None else f"{there}{self._joined}{self._value}"
        request.headers[self._name] = value

    async def refused(self, request: Outgoing, status: int, challenge: str) -> bool:
        return False


class _Query(Hidden):
    def __init__(self, name: str, value: str) -> None:
        self._pair = f"{quote(name, safe='')}={quote(value, safe='')}"

    async def apply(self, request: Outgoing) -> None:
        request.url += f"{'&' if '?' in request.url else '?'}{self._pair}"

    async def refused(self, request: Outgoing, status: int, challenge: str) -> bool:
        return False
