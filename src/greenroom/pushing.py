"""Makes of the settings of ``[greenroom.push]`` what the runtime needs to deliver webhooks."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path

import anyio.to_thread

from .keyring import vault_of
from .protocol.jose import SigningKey
from .protocol.webhooks import Secret, WebhookError
from .runtime.push.ports import Answer, Deliverer, Webhooks
from .runtime.settings.push import PushSettings


class LazyDelivery:
    """A ``Deliverer`` that imports the HTTP client when somebody registers the first webhook.

    The import takes a quarter of a second: a server without webhooks does not pay for it.
    """

    def __init__(self, settings: PushSettings) -> None:
        self._settings = settings
        self._made: Deliverer | None = None

    async def _delivery(self) -> Deliverer:
        if self._made is None:
            made = await anyio.to_thread.run_sync(_delivery_of, self._settings)
            self._made = self._made or made
        return self._made

    async def check(self, url: str) -> None:
        await (await self._delivery()).check(url)

    async def deliver(
        self, url: str, headers: Mapping[str, str], body: bytes, *, now: float
    ) -> Answer:
        return await (await self._delivery()).deliver(url, headers, body, now=now)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


def webhooks_of(settings: PushSettings) -> Webhooks | None:
    """Return what the settings ask for, ``None`` if push is off. Raises ValueError."""
    if not settings.enabled:
        return None
    try:
        secrets = {
            agent: tuple(Secret(text) for text in texts)
            for agent, texts in settings.secrets.items()
        }
    except WebhookError as error:
        raise ValueError(f"push.secrets: {error}") from None
    _check_networks(settings.networks)
    signing = signing_keys(settings)
    return Webhooks(
        deliverer=LazyDelivery(settings),
        settings=settings,
        vault=vault_of(settings.keys),
        secrets=secrets,
        keys=[key.private for key in signing],
        public_keys=[key.public_jwk for key in signing],
    )


def signing_keys(settings: PushSettings) -> list[SigningKey]:
    """Return the keys that sign deliveries, for the key set. Raises ValueError."""
    return [_signing_key(path) for path in settings.signing_keys]


def _signing_key(path: str) -> SigningKey:
    try:
        key = SigningKey(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"push.signing_keys: {path} cannot be read: {error.strerror}") from None
    if key.algorithm != "EdDSA":
        raise ValueError(f"push.signing_keys: {path} is no ed25519 key")
    return key


def _check_networks(networks: Sequence[str]) -> None:
    for text in networks:
        try:
            ip_network(text)
        except ValueError as error:
            raise ValueError(f"push.networks: {error}") from None


def _delivery_of(settings: PushSettings) -> Deliverer:
    from .transports.client.addresses import ANY, AddressPolicy, networks
    from .transports.push.delivery import HttpDelivery

    policy = ANY
    if not settings.allow_private:
        policy = AddressPolicy(
            schemes=("https", "http") if settings.allow_http else ("https",),
            low_ports=settings.ports,
            hosts=tuple(host.lower() for host in settings.hosts),
            networks=networks(settings.networks),
        )
    tls = None
    if settings.ca_file is not None:
        tls = ssl.create_default_context()
        tls.load_verify_locations(settings.ca_file)
    return HttpDelivery(policy, timeout=settings.timeout, tls=tls)
