"""The keys of an issuer, fetched over HTTP: discovery, caching, rotation."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable

import anyio

from ...protocol.errors import UnavailableError
from ...protocol.jose import JoseError, Key, keys_of, material
from ...runtime.security.schemes.claims import same_issuer
from ..client.addresses import check_secret_url
from .fetching import FetchError, get_json

log = logging.getLogger("greenroom.security")
_TRIED = 8
"""Keys tried for a token without ``kid``."""
_LONGEST = 15.0
"""Seconds that a fetch takes at most."""


class RemoteKeys:
    """``RenewableKeys`` of one issuer: by OpenID Connect discovery, or straight from ``jwks_url``.

    Fetched when first needed, again after ``max_age``, and for a ``kid`` or a signature that does
    not fit, but not more often than every ``refetch_every`` seconds. While ``run`` runs nobody
    waits for what is fetched again for its age: the keys there are good for ``stale`` seconds more,
    also while the issuer is slow or cannot be reached.
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
        self._issuer = None if issuer is None else check_secret_url(issuer).removesuffix("/")
        self._configured = None if jwks_url is None else check_secret_url(jwks_url)
        self._max_age = max_age
        self._refetch_every = refetch_every
        self._stale = stale
        self._tls = tls
        self._keys: list[Key] = []
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._answered = True
        """Whether the last fetch brought keys."""
        self._wanted: anyio.Event | None = None
        """Set to have ``run`` fetch; ``None``: it does not run."""
        self._done: anyio.Event | None = None
        """Set when the fetch under way is over; ``None``: there is none."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when a key is gone: what it signed is to be verified anew."""

    async def run(self) -> None:
        """Fetch when it is asked for, as long as the server runs: no caller who goes away takes a
        fetch along that everybody needs."""
        try:
            while True:
                self._wanted = anyio.Event()
                await self._wanted.wait()
                await self._serve()
        finally:
            self._wanted = None
            self._over()

    async def find(self, kid: str | None, now: float) -> Iterable[Key]:
        """See ``KeySource.find``."""
        age = now - self._fetched
        if age > self._max_age + self._stale:
            await self.renew(now)
            if now - self._fetched > self._max_age + self._stale:
                raise _unavailable()
        elif age > self._max_age:
            if self._wanted is not None:
                self.watch(now)
            elif self._done is None:
                await self.renew(now)
        keys = self._named(kid)
        if not keys and await self.renew(now):
            keys = self._named(kid)
        if not keys and kid is not None and not self._answered:
            raise _unavailable()  # it may be a new one, which the issuer cannot tell us of
        return keys

    async def renew(self, now: float) -> bool:
        """See ``RenewableKeys.renew``."""
        alone = self._wanted is None and self._done is None
        done = self._begin(now)
        if done is None:
            return False
        if alone:
            with anyio.CancelScope(shield=True):
                await self._serve()
        else:
            await done.wait()
        return True

    def watch(self, now: float) -> None:
        """See ``RenewableKeys.watch``."""
        if now - self._fetched > self._max_age and self._wanted is not None:
            self._begin(now)

    def _begin(self, now: float) -> anyio.Event | None:
        """Return what is set after a fetch; ``None``: the last one was begun a moment ago."""
        if self._done is None:
            if now - self._tried < self._refetch_every:
                return None
            self._tried = now
            self._done = anyio.Event()
            if self._wanted is not None:
                self._wanted.set()
        return self._done

    async def _serve(self) -> None:
        self._answered = False
        try:
            with anyio.move_on_after(_LONGEST) as scope:
                await self._fetch(self._tried)
            if scope.cancelled_caught:
                log.warning("the keys of %s: no answer", self._issuer or self._configured)
        finally:
            self._over()

    def _over(self) -> None:
        if self._done is not None:
            self._done.set()
            self._done = None

    def _named(self, kid: str | None) -> list[Key]:
        if kid is None:
            return self._keys[:_TRIED]
        return [key for key in self._keys if key.kid == kid]

    async def _fetch(self, now: float) -> None:
        try:
            keys = keys_of(await get_json(await self._address(), tls=self._tls))
        except (FetchError, JoseError, ValueError) as error:
            log.warning("the keys of %s: %s", self._issuer or self._configured, error)
            return
        # By what they are: an issuer may give a new key the name of the old one, or none.
        gone = {material(key) for key in self._keys} - {material(key) for key in keys}
        self._keys, self._fetched, self._answered = keys, now, True
        if gone:
            self.on_change()

    async def _address(self) -> str:
        if self._configured is not None:
            return self._configured
        url = f"{self._issuer}/.well-known/openid-configuration"
        discovery = await get_json(url, tls=self._tls)
        if not same_issuer(discovery.get("issuer"), self._issuer or ""):
            raise FetchError(f"{url} is of another issuer: {str(discovery.get('issuer'))[:200]}")
        return check_secret_url(str(discovery.get("jwks_uri")))


def _unavailable() -> UnavailableError:
    return UnavailableError(
        "The keys of the token's issuer cannot be had at the moment", headers={"Retry-After": "5"}
    )
