"""Grants of OAuth 2 without a browser: client credentials, and codes of devices (RFC 8628)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable

import anyio
from msgspec import Struct

from ....protocol.types import SecurityScheme
from ..errors import AuthError
from .credential import Binding, Hidden, Prover
from .endpoints import Endpoints, endpoints_of
from .tokens import ClientIdentity, Token, TokenProver, Tokens, ask, reason_of, token_of


class Grant(Hidden):
    """Base of the credentials that get their tokens from an authorization server."""

    _flow = ""

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        scopes: Iterable[str] = (),
        token_url: str = "",
        issuer: str = "",
        secret_in_body: bool = False,
        audience: str | None = None,
    ) -> None:
        """Without ``token_url`` or ``issuer`` (OpenID discovery) the card names the endpoints,
        which must be of the agent's own origin. ``scopes`` are asked for beside those that the
        card requires. ``secret_in_body`` sends the secret in the form, not as HTTP Basic.
        ``audience`` is sent to servers that want it."""
        self.identity = ClientIdentity(client_id, client_secret, in_body=secret_in_body)
        self.scopes = tuple(scopes)
        self.given = Endpoints(token=token_url, issuer=issuer)
        self.audience = audience
        self.tokens: Tokens = {}

    @property
    def flow(self) -> str:
        """The name of the flow on cards."""
        return self._flow

    def fits(self, scheme: SecurityScheme) -> bool:
        oauth = scheme.oauth2_security_scheme
        if oauth is not None:
            return bool(oauth.oauth2_metadata_url) or getattr(oauth.flows, self._flow) is not None
        http = scheme.http_auth_security_scheme
        bearer = http is not None and http.scheme.lower() == "bearer"
        return scheme.open_id_connect_security_scheme is not None or bearer


class GrantProver(TokenProver):
    """A grant in use: knows its endpoints once they were needed."""

    def __init__(self, grant: Grant, binding: Binding) -> None:
        scopes = tuple(dict.fromkeys([*grant.scopes, *binding.scopes]))
        super().__init__(grant.tokens, binding.origin, scopes)
        self._grant = grant
        self._binding = binding
        self._endpoints: Endpoints | None = None

    async def endpoints(self) -> Endpoints:
        if self._endpoints is None:
            self._endpoints = await endpoints_of(self._grant.given, self._binding, self._grant.flow)
        return self._endpoints

    async def _ask(self, form: dict[str, str]) -> Token:
        url = (await self.endpoints()).token
        status, answer = await ask(self._binding.http, url, form, self._grant.identity)
        return token_of(url, status, answer)

    async def _refresh(self, refresh: str) -> Token:
        token = await self._ask({"grant_type": "refresh_token", "refresh_token": refresh})
        return token if token.refresh else Token(token.access, refresh, token.renew_at)

    def _asked(self, form: dict[str, str]) -> dict[str, str]:
        """Return ``form`` with the scopes and the audience."""
        if self._scopes:
            form["scope"] = " ".join(self._scopes)
        if self._grant.audience:
            form["audience"] = self._grant.audience
        return form


class ClientCredentials(Grant):
    """A program that acts for itself (RFC 6749 section 4.4)."""

    _flow = "client_credentials"

    def bind(self, binding: Binding) -> Prover:
        return _ClientCredentialsProver(self, binding)


class _ClientCredentialsProver(GrantProver):
    async def _fetch(self) -> Token:
        return await self._ask(self._asked({"grant_type": "client_credentials"}))


class DevicePrompt(Struct, frozen=True):
    """What a person must do: open ``url`` and type ``code``, or open ``complete_url``."""

    url: str
    code: str
    complete_url: str | None = None


class DeviceCode(Grant):
    """A person signs in on another device (RFC 8628)."""

    _flow = "device_code"

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        show: Callable[[DevicePrompt], Awaitable[None] | None],
        device_url: str = "",
        scopes: Iterable[str] = (),
        token_url: str = "",
        issuer: str = "",
        secret_in_body: bool = False,
        audience: str | None = None,
    ) -> None:
        """``show`` tells the person what to do; the other arguments are those of ``Grant``."""
        super().__init__(
            client_id,
            client_secret,
            scopes=scopes,
            token_url=token_url,
            issuer=issuer,
            secret_in_body=secret_in_body,
            audience=audience,
        )
        self.given = Endpoints(token=token_url, device=device_url, issuer=issuer)
        self.show = show

    def bind(self, binding: Binding) -> Prover:
        return _DeviceProver(self, binding)


_PENDING, _SLOWER = "authorization_pending", "slow_down"


class _DeviceProver(GrantProver):
    def __init__(self, grant: DeviceCode, binding: Binding) -> None:
        super().__init__(grant, binding)
        self._device = grant

    async def _fetch(self) -> Token:
        there = await self.endpoints()
        http, identity = self._binding.http, self._grant.identity
        form = self._asked({"client_id": identity.client_id})
        status, answer = await ask(http, there.device, form, identity)
        code, url = answer.get("device_code"), answer.get("verification_uri")
        if status != 200 or not isinstance(code, str) or not isinstance(url, str):
            raise AuthError(f"no code for this device: {reason_of(status, answer)}")
        complete = answer.get("verification_uri_complete")
        prompt = DevicePrompt(url, str(answer.get("user_code", "")), complete)
        shown = self._device.show(prompt)
        if isawaitable(shown):
            await shown
        wait = _seconds(answer.get("interval"), 5.0)
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": code}
        with anyio.move_on_after(_seconds(answer.get("expires_in"), 1800.0)):
            while True:
                await anyio.sleep(wait)
                status, answer = await ask(http, there.token, form, identity)
                error = answer.get("error")
                if error not in (_PENDING, _SLOWER):
                    return token_of(there.token, status, answer)
                wait += 5.0 if error == _SLOWER else 0.0
        raise AuthError("nobody signed in before the code expired")


def _seconds(value: object, default: float) -> float:
    usable = isinstance(value, int | float) and 0 <= value < 86_400
    return float(value) if usable else default  # type: ignore[arg-type]
