"""The keys of an issuer, fetched over HTTP: discovery, caching, rotation."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable

import anyio

from ...protocol.errors import UnavailableError
from ...protocol.jose import JoseError, Key, keys_of
from .fetching import FetchError, check_address, get_json

log = logging.getLogger("greenroom.security")
_TRIED = 8
"""Keys tried for a token without ``kid``."""
_LONGEST = 15.0
"""Seconds that a fetch takes at most."""


class RemoteKeys:
    """``KeySource`` of one issuer: by OpenID Connect discovery, or straight from ``jwks_url``.

    Fetched when first needed, again after ``max_age``, and once for a ``kid`` that is not known,
    but not more often than every ``refetch_every`` seconds. While ``run`` runs nobody waits for
    what is fetched again for its age: the keys there are good for ``stale`` seconds more, also
    while the issuer is slow or cannot be reached.
    """

    def __init__(
        self,
        *,
        issuer: str | None = None,
        jwks_url: str | None = None,
        max_age: float = 3600.0,
        refetch_every: float = 10.0,
        stale: float = 86_400.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if issuer is None and jwks_url is None:
            raise ValueError("name an issuer (for discovery) or a jwks_url")
        self._issuer = None if issuer is None else check_address(issuer).rstrip("/")
        self._configured = None if jwks_url is None else check_address(jwks_url)
        self._max_age = max_age
        self._refetch_every = refetch_every
        self._stale = stale
        self._tls = tls
        self._keys: list[Key] = []
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._lock: anyio.Lock | None = None
        self._wanted: anyio.Event | None = None
        self._asked = float("-inf")
        self.on_change: Callable[[], None] = lambda: None
        """Called when a key is gone: what it signed is to be verified anew."""

    async def run(self) -> None:
        """Fetch anew what ``find`` found to be old, for as long as the server runs."""
        while True:
            wanted = self._wanted = anyio.Event()
            try:
                await wanted.wait()
            finally:
                self._wanted = None
            await self._refresh(self._asked)

    async def find(self, kid: str | None, now: float) -> Iterable[Key]:
        """See ``KeySource.find``."""
        age = now - self._fetched
        if age > self._max_age + self._stale:
            await self._refresh(now)
            if now - self._fetched > self._max_age + self._stale:
                raise UnavailableError(
                    "The keys of the token's issuer cannot be had at the moment",
                    headers={"Retry-After": "5"},
                )
        elif age > self._max_age:
            await self._revalidate(now)
        found = self._named(kid)
        if not found:
            await self._refresh(now)
            found = self._named(kid)
        return found

    async def _revalidate(self, now: float) -> None:
        fetching = self._lock is not None and self._lock.locked()
        if fetching or now - self._tried < self._refetch_every:
            return
        if self._wanted is not None:
            self._asked = now
            self._wanted.set()
        else:  # nobody runs us
            await self._refresh(now)

    def _named(self, kid: str | None) -> list[Key]:
        if kid is None:
            return self._keys[:_TRIED]
        return [key for key in self._keys if key.kid == kid]

    async def _refresh(self, now: float) -> None:
        if self._lock is None:
            self._lock = anyio.Lock()
        asked = self._tried
        async with self._lock:
            # Who waited for another's fetch has its answer; who comes too soon has the last one.
            if self._tried != asked or now - self._tried < self._refetch_every:
                return
            self._tried = now
            try:
                with anyio.fail_after(_LONGEST):
                    keys = keys_of(await get_json(await self._address(), tls=self._tls))
            except TimeoutError:
                log.warning("the keys of %s: no answer", self._issuer or self._configured)
                return
            except (FetchError, JoseError, ValueError) as error:
                log.warning("the keys of %s: %s", self._issuer or self._configured, error)
                return
            gone = {key.kid for key in self._keys} - {key.kid for key in keys}
            self._keys, self._fetched = keys, now
            if gone:
                self.on_change()

    async def _address(self) -> str:
        if self._configured is not None:
            return self._configured
        url = f"{self._issuer}/.well-known/openid-configuration"
        found = await get_json(url, tls=self._tls)
        if str(found.get("issuer")).rstrip("/") != self._issuer:
            raise FetchError(f"{url} is of another issuer: {str(found.get('issuer'))[:200]}")
        return check_address(str(found.get("jwks_uri")))
