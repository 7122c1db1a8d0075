"""Whose cards a client believes: keys at hand, key sets, and hosts that publish their own."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

import msgspec
from msgspec import Struct, structs

from ...protocol import jose
from ...protocol.cards import signing
from ...protocol.cards.coverage import uncovered
from ...protocol.cards.shapes import parse_card
from ...protocol.protojson import unmarked
from ...protocol.types import AgentCard
from .addresses import check_secret_url
from .errors import HttpError
from .http import Limits, request
from .urls import origin_of

_LIMITS = Limits(silence=10.0, total=15.0, body=1024 * 1024)


class Trust(Struct, frozen=True, kw_only=True):
    """Nothing on a card adds to it but the ``jku`` of hosts that are named here.

    ValueError for key sets at addresses that are neither https nor of this very machine.
    """

    keys: tuple[jose.Key, ...] = ()
    """Keys by their ``kid``; one with ``""`` is good under whatever name the card gives it."""
    jwks: tuple[str, ...] = ()
    """Addresses of key sets."""
    hosts: tuple[str, ...] = ()
    """Hosts whose own https key sets are followed."""
    accept_sdk_form: bool = False
    """See ``signing.verify``."""

    def __post_init__(self) -> None:
        for address in self.jwks:
            check_secret_url(address)

    async def verify(
        self, body: bytes, tls: ssl.SSLContext | None = None
    ) -> tuple[AgentCard, signing.Verified, list[str]]:
        """Return the card in ``body``, who signed it, and the members that nobody signed.

        Raises SignatureError where it is not to be believed, HttpError where keys cannot be had.
        """
        card = parse_card(body)
        verified = signing.verify(
            card, await self._trusted(card, tls), accept_sdk_form=self.accept_sdk_form
        )
        return card, verified, uncovered(body, card)

    async def _trusted(self, card: AgentCard, tls: ssl.SSLContext | None) -> list[jose.Key]:
        keys = list(_named(self.keys, card))
        followed = [one for one in signing.key_addresses(card) if self._follows(one)]
        for address in dict.fromkeys([*self.jwks, *followed]):
            keys += key_set(await _get(address, tls))
        return keys

    def _follows(self, address: str) -> bool:
        try:
            origin = origin_of(address)
        except HttpError:
            return False
        return origin.scheme == "https" and origin.host in self.hosts


def key_set(body: bytes) -> list[jose.Key]:
    """Return the keys of a JWK Set; raises SignatureError."""
    try:
        return jose.keys_of(msgspec.json.decode(unmarked(body)))
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise signing.SignatureError(f"The key set cannot be read: {error}") from None


def _named(keys: Iterable[jose.Key], card: AgentCard) -> Iterable[jose.Key]:
    for key in keys:
        if key.kid:
            yield key
        else:
            yield from (structs.replace(key, kid=kid) for kid in signing.key_names(card))


async def _get(url: str, tls: ssl.SSLContext | None) -> bytes:
    headers = {"Accept": "application/json"}
    async with request("GET", url, headers=headers, limits=_LIMITS, tls=tls) as response:
        body = await response.read()
        if response.status != 200:
            raise HttpError(f"{url} answered with status {response.status}")
        return body


__all__ = ["Trust", "key_set"]
