"""Token introspection (RFC 7662): the issuer itself says what a token is worth."""

from __future__ import annotations

import logging
import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote_plus

import anyio

from ...protocol.errors import UnavailableError
from ...runtime.security.schemes.claims import check_purpose, check_times, same_issuer
from ...runtime.security.schemes.fair_queue import FairQueue
from ...runtime.security.schemes.ports import InvalidCredential, UnknownCredential
from ..client.addresses import check_secret_url
from .fetching import FetchError, post_form

log = logging.getLogger("greenroom.security")
_EARLY = 30.0
"""Seconds that the issuer's clock may be ahead of ours."""


class Introspection:
    """``TokenVerifier`` that asks an endpoint, at most ``at_once`` times at once. A token waits
    ``timeout`` seconds at most, for its turn and for the answer, however slowly that comes.

    The client authenticates with its secret in a Basic header (RFC 6749 section 2.3.1) or in the
    form. Where ``audience`` or ``issuer`` is given the answer must name it.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        client_secret: str,
        method: Literal["basic", "post"] = "basic",
        audience: str | Sequence[str] | None = None,
        issuer: str | None = None,
        at_once: int = 16,
        timeout: float = 15.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = check_secret_url(url)
        self._form: dict[str, str] = {"token_type_hint": "access_token"}
        self._headers: dict[str, str] = {}
        if method == "basic":
            pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
            self._headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            self._form |= {"client_id": client_id, "client_secret": client_secret}
        self._audience = {audience} if isinstance(audience, str) else set(audience or ())
        self._issuer = issuer
        self._queue = FairQueue(at_once)
        self._timeout = timeout
        self._tls = tls

    async def verify(self, token: str, now: float) -> Mapping[str, Any]:
        """See ``TokenVerifier.verify``."""
        return await self.verify_of("", token, now)

    async def verify_of(self, peer: str, token: str, now: float) -> Mapping[str, Any]:
        """See ``PeerVerifier.verify_of``."""
        try:
            with anyio.fail_after(self._timeout):
                async with self._queue.of(peer):
                    answer = await post_form(
                        self._url,
                        {"token": token, **self._form},
                        headers=self._headers,
                        tls=self._tls,
                    )
        except (FetchError, TimeoutError) as error:
            log.warning("introspection: %s", str(error) or f"no answer in {self._timeout:g} s")
            raise UnavailableError(
                "The token cannot be verified at the moment", headers={"Retry-After": "5"}
            ) from error
        self._check(answer, now)
        return answer

    def _check(self, answer: dict[str, Any], now: float) -> None:
        if answer.get("active") is not True:
            raise InvalidCredential("it is not active")
        check_times(answer, now, early=_EARLY)
        check_purpose(answer)
        if self._audience:
            named = answer.get("aud")
            listed = [named] if isinstance(named, str) else named if isinstance(named, list) else []
            if not self._audience & {one for one in listed if isinstance(one, str)}:
                raise InvalidCredential("it is for another audience")
        if self._issuer is not None and not same_issuer(answer.get("iss"), self._issuer):
            raise UnknownCredential("it is of another issuer")
