"""Cross-origin requests from browsers (the CORS protocol of the Fetch standard)."""

from __future__ import annotations

from collections.abc import Iterable

from ...protocol.types import SecurityScheme
from .exchange import Exchange, Headers
from .settings import HttpSettings

_ALLOWED = (
    "accept", "authorization", "content-type", "a2a-version", "a2a-extensions", "x-a2a-extensions",
    "last-event-id", "traceparent", "tracestate",
)  # fmt: skip
_METHODS = b"GET, HEAD, POST, DELETE, OPTIONS"
_EXPOSED = b"A2A-Version, A2A-Extensions, ETag, Retry-After, WWW-Authenticate"


class Cors:
    """Adds what browsers need, for the configured origins only."""

    def __init__(self, settings: HttpSettings, schemes: Iterable[SecurityScheme] = ()) -> None:
        """``schemes`` are those whose credentials callers are asked for."""
        keys = (scheme.api_key_security_scheme for scheme in schemes)
        named = (key.name.lower() for key in keys if key is not None and key.location == "header")
        self._allowed = ", ".join(dict.fromkeys([*_ALLOWED, *named])).encode("latin-1")
        self.enabled = bool(settings.cors_origins)
        self._any = "*" in settings.cors_origins
        self._origins = frozenset(
            origin.rstrip("/").lower().encode("latin-1") for origin in settings.cors_origins
        )
        self._max_age = str(settings.cors_max_age).encode()

    def apply(self, exchange: Exchange) -> None:
        """Give the answer the headers that let its origin read it."""
        origin = exchange.fields.get(b"origin")
        # Caches must not hand one origin's answer to another, nor a plain one to a browser.
        exchange.extra.append((b"vary", b"Origin"))
        if origin is not None and self._admits(origin):
            exchange.extra += (
                (b"access-control-allow-origin", b"*" if self._any else origin),
                (b"access-control-expose-headers", _EXPOSED),
            )

    def preflight(self, exchange: Exchange) -> Headers | None:
        """Return the headers of the answer to a preflight; ``None``: this is none."""
        fields = exchange.fields
        if b"origin" not in fields or b"access-control-request-method" not in fields:
            return None
        if not self._admits(fields[b"origin"]):
            return []
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", self._allowed),
            (b"access-control-max-age", self._max_age),
        ]

    def _admits(self, origin: bytes) -> bool:
        return self._any or origin.lower() in self._origins
