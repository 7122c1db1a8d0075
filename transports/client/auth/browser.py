"""The authorization code grant: a person signs in with a browser on this machine.

With PKCE (RFC 7636), a ``state`` that only this request knows, and a redirect to a port of this
machine that is open for one answer (RFC 8252).
"""

from __future__ import annotations

import hashlib
import secrets
import webbrowser
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable
from hmac import compare_digest
from inspect import isawaitable
from urllib.parse import parse_qs, urlencode, urlsplit

import anyio
import anyio.abc
import anyio.to_thread

from ..errors import AuthError
from .credential import Binding, Prover
from .endpoints import Endpoints
from .oauth import Grant, GrantProver
from .tokens import Token

_PATH = "/callback"
_HEAD = 16_384
"""Bytes of a request that the redirect may have."""
_SECONDS = 300.0
_PAGE = b"<!doctype html><title>Greenroom</title><p>You can close this window."


async def _open_browser(url: str) -> None:
    if not await anyio.to_thread.run_sync(webbrowser.open, url):
        raise AuthError("no browser can be opened here: pass open_url, or use DeviceCode")


class AuthorizationCode(Grant):
    """A person signs in with a browser (RFC 6749 section 4.1)."""

    _flow = "authorization_code"

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        authorization_url: str = "",
        open_url: Callable[[str], Awaitable[None] | None] = _open_browser,
        port: int = 0,
        scopes: Iterable[str] = (),
        token_url: str = "",
        issuer: str = "",
        secret_in_body: bool = False,
        audience: str | None = None,
    ) -> None:
        """``open_url`` leads the person to a URL: by default in the browser of this machine.

        ``port`` is that of the redirect, ``http://127.0.0.1:PORT/callback``; 0: a free one. The
        other arguments are those of ``Grant``.
        """
        super().__init__(
            client_id,
            client_secret,
            scopes=scopes,
            token_url=token_url,
            issuer=issuer,
            secret_in_body=secret_in_body,
            audience=audience,
        )
        self.given = Endpoints(token=token_url, authorization=authorization_url, issuer=issuer)
        self.open_url = open_url
        self.port = port

    def bind(self, binding: Binding) -> Prover:
        return _CodeProver(self, binding)


class _CodeProver(GrantProver):
    def __init__(self, grant: AuthorizationCode, binding: Binding) -> None:
        super().__init__(grant, binding)
        self._code = grant

    async def _fetch(self) -> Token:
        there = await self.endpoints()
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        listener = await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=self._code.port
        )
        async with listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            redirect = f"http://127.0.0.1:{port}{_PATH}"
            query = {
                "response_type": "code",
                "client_id": self._grant.identity.client_id,
                "redirect_uri": redirect,
                "state": state,
                "code_challenge": _challenge(verifier),
                "code_challenge_method": "S256",
            }
            mark = "&" if urlsplit(there.authorization).query else "?"
            opened = self._code.open_url(there.authorization + mark + urlencode(self._asked(query)))
            if isawaitable(opened):
                await opened
            code = await _answer(listener, state)
        return await self._ask(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect,
                "code_verifier": verifier,
                "client_id": self._grant.identity.client_id,
            }
        )


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


async def _answer(listener: anyio.abc.Listener[anyio.abc.SocketStream], state: str) -> str:
    """Wait for the redirect; return its code. Raises AuthError."""
    answers: list[str | AuthError] = []

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            answer = await _redirect(stream, state)
        if answer is not None and not answers:
            answers.append(answer)
            group.cancel_scope.cancel()

    with anyio.move_on_after(_SECONDS):
        async with anyio.create_task_group() as group:
            await listener.serve(handle, group)
    if not answers:
        raise AuthError(f"nobody signed in within {_SECONDS:g} s")
    if isinstance(answers[0], AuthError):
        raise answers[0]
    return answers[0]


async def _redirect(stream: anyio.abc.SocketStream, state: str) -> str | AuthError | None:
    """Read one request; return what it says, ``None`` where it is not the redirect."""
    head = b""
    try:
        with anyio.move_on_after(10):
            while b"\r\n\r\n" not in head and len(head) < _HEAD:
                head += await stream.receive()
        target = head.partition(b"\r\n")[0].split(b" ")[1].decode("latin1")
        parts = urlsplit(target)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        # Any page can send a browser here: only who knows the state is the server that was asked.
        ours = parts.path == _PATH and compare_digest(
            asked.get("state", "").encode(), state.encode()
        )
        body = _PAGE if ours else b""
        status = b"200 OK" if ours else b"404 Not Found"
        await stream.send(
            b"HTTP/1.1 %b\r\nContent-Type: text/html\r\nContent-Length: %d\r\n"
            b"Cache-Control: no-store\r\nConnection: close\r\n\r\n%b" % (status, len(body), body)
        )
    except (anyio.EndOfStream, anyio.BrokenResourceError, IndexError, ValueError):
        return None
    if not ours:
        return None
    if "code" in asked:
        return asked["code"]
    reason = ": ".join(asked[name] for name in ("error", "error_description") if name in asked)
    return AuthError(f"the sign-in was refused: {reason[:500] or 'no reason was given'}")
