"""HTTP Digest (RFC 7616): the password is never sent, and the server asks first."""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import urlsplit

from ....protocol.types import SecurityScheme
from ..requests import Outgoing
from .challenges import challenges
from .credential import Binding, Hidden, Prover

_BEST = ("sha-256", "md5")


class Digest(Hidden):
    """A user name and a password for servers that ask for HTTP Digest (not over gRPC)."""

    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password

    def fits(self, scheme: SecurityScheme) -> bool:
        http = scheme.http_auth_security_scheme
        return http is not None and http.scheme.lower() == "digest"

    def bind(self, binding: Binding) -> Prover:
        return _DigestProver(self._username, self._password)


class _DigestProver(Hidden):
    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password
        self._asked: dict[str, str] | None = None
        """Parameters of the last challenge."""
        self._count = 0

    async def apply(self, request: Outgoing) -> None:
        if self._asked is not None:
            self._count += 1
            request.headers["Authorization"] = self._proof(request, self._asked)

    async def refused(self, request: Outgoing, status: int, challenge: str) -> bool:
        if status != 401:
            return False
        offered = {
            one.parameters.get("algorithm", "MD5").lower().removesuffix("-sess"): one.parameters
            for one in challenges(challenge)
            if one.scheme == "digest" and "nonce" in one.parameters
            if _usable(one.parameters)
        }
        best = next((offered[name] for name in _BEST if name in offered), None)
        if best is None:
            return False
        sent = request.headers.get("Authorization", "")
        # A nonce that is new was not tried; one that was tried says that the password is wrong.
        again = f'nonce="{best["nonce"]}"' not in sent
        self._asked, self._count = best, 0
        return again

    def _proof(self, request: Outgoing, asked: dict[str, str]) -> str:
        algorithm = asked.get("algorithm", "MD5")
        parts = urlsplit(request.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        realm, nonce = asked.get("realm", ""), asked["nonce"]
        unique, count = secrets.token_hex(16), f"{self._count:08x}"

        def hashed(text: str) -> str:
            function = hashlib.sha256 if algorithm.lower().startswith("sha-256") else hashlib.md5
            return function(text.encode()).hexdigest()

        who = hashed(f"{self._username}:{realm}:{self._password}")
        if algorithm.lower().endswith("-sess"):
            who = hashed(f"{who}:{nonce}:{unique}")
        what = hashed(f"{request.method}:{target}")
        fields = {
            "username": _quoted(self._username),
            "realm": _quoted(realm),
            "nonce": _quoted(nonce),
            "uri": _quoted(target),
            "algorithm": algorithm,
        }
        if "qop" in asked:
            proof = hashed(f"{who}:{nonce}:{count}:{unique}:auth:{what}")
            fields |= {"qop": "auth", "nc": count, "cnonce": _quoted(unique)}
        else:
            proof = hashed(f"{who}:{nonce}:{what}")
        fields["response"] = _quoted(proof)
        if "opaque" in asked:
            fields["opaque"] = _quoted(asked["opaque"])
        return "Digest " + ", ".join(f"{name}={value}" for name, value in fields.items())


def _usable(asked: dict[str, str]) -> bool:
    algorithm = asked.get("algorithm", "MD5").lower().removesuffix("-sess")
    qop = [word.strip() for word in asked.get("qop", "auth").split(",")]
    return algorithm in _BEST and "auth" in qop


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
