"""A small OpenID provider: `python -m tests.support.provider` prints its port and serves.

Discovery, a key set that rotates, introspection with client authentication, tokens on request; and
whatever a test needs to see or break: counters, an outage.
"""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, quote_plus

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

CLIENT = ("greenroom", "s3cret of the client:+")
"""The server, which asks what a token is worth."""
CALLER = ("ada", "s3cret-of-ada")
"""A program that gets tokens for itself (the client credentials grant)."""


class Provider:
    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, Any]] = {}
        self.fetches = self.introspections = 0
        self.down = False
        self.prompt = threading.Event()
        """Cleared: keys are asked for, and do not come."""
        self.prompt.set()
        self.slash = False
        self.said: dict[str, str] = {}
        """What the discovery document says instead."""
        self.odd: list[Any] = []
        """What the key set has beside keys."""
        self.opaque: dict[str, dict[str, Any]] = {}
        self.base = ""
        self.evil = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.rotate("RS256")

    def rotate(self, algorithm: str, keep: bool = False, kid: str | None = None) -> str:
        if not keep:
            self.keys.clear()
        if kid is None:
            kid = f"key-{time.monotonic_ns()}"
        private: Any
        if algorithm[:2] in ("RS", "PS"):
            private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        elif algorithm == "ES256":
            private = ec.generate_private_key(ec.SECP256R1())
        else:
            private = ed25519.Ed25519PrivateKey.generate()
        self.keys[kid] = (algorithm, private)
        return kid

    def claims(self, given: dict[str, Any]) -> dict[str, Any]:
        now = time.time()
        issuer = self.base + ("/" if self.slash else "")
        found = {"iss": issuer, "aud": "agents", "iat": now, "exp": now + 600, **given}
        return {name: value for name, value in found.items() if value is not None}

    def mint(self, asked: dict[str, Any]) -> str:
        kid, (algorithm, private) = list(self.keys.items())[-1]
        headers = {**({"kid": kid} if kid else {}), **asked.get("header", {})}
        claims = self.claims(asked["claims"])
        forged = asked.get("forge")
        if forged == "none":
            return jwt.encode(claims, "", algorithm="none", headers=headers)
        if forged == "confusion":  # HS256 with the public key for a secret
            pem = private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            head = _b64(json.dumps({"alg": "HS256", "typ": "JWT", "kid": kid}).encode())
            body = _b64(json.dumps(claims).encode())
            import hashlib
            import hmac

            mac = hmac.new(pem, f"{head}.{body}".encode(), hashlib.sha256).digest()
            return f"{head}.{body}.{_b64(mac)}"
        if forged == "key":  # the right kid, another key
            private = self.evil
        return jwt.encode(claims, private, algorithm=algorithm, headers=headers)

    def grant(self, scope: str, *, opaque: bool) -> dict[str, Any]:
        claims = {"sub": CALLER[0], "scope": scope}
        token = token_urlsafe() if opaque else self.mint({"claims": claims})
        if opaque:
            self.opaque[token] = {"active": True, **self.claims(claims)}
        return {"access_token": token, "token_type": "Bearer", "expires_in": 600, "scope": scope}

    def jwks(self) -> dict[str, Any]:
        collected = []
        for kid, (algorithm, private) in self.keys.items():
            kind = jwt.get_algorithm_by_name(algorithm)
            jwk = kind.to_jwk(private.public_key(), as_dict=True)
            named = {"kid": kid} if kid else {}
            collected.append({**jwk, **named, "alg": algorithm, "use": "sig"})
        return {"keys": [*self.odd, *collected]}

    def get(self, path: str) -> dict[str, Any] | None:
        if path == "/.well-known/openid-configuration":
            issuer = self.base + ("/" if self.slash else "")
            return {
                "issuer": issuer,
                "jwks_uri": f"{self.base}/jwks",
                "token_endpoint": f"{self.base}/token",
                **self.said,
            }
        if path == "/jwks":
            self.fetches += 1
            self.prompt.wait()
            return self.jwks()
        if path == "/counts":
            return {"fetches": self.fetches, "introspections": self.introspections}
        return None

    def post(self, path: str, body: bytes, authorization: str) -> tuple[int, dict[str, Any]]:
        if path in ("/introspect", "/introspect/form"):  # RFC 6749 section 2.3.1 knows two ways
            self.introspections += 1
            asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            in_form = (asked.get("client_id"), asked.get("client_secret")) == CLIENT
            by_basic = authorization == basic(*CLIENT)
            if (in_form, by_basic) != (path == "/introspect/form", path == "/introspect"):
                return 401, {"error": "invalid_client"}
            token = asked.get("token", "")
            return 200, self.opaque.get(token, {"active": False})
        if path in ("/token", "/token/opaque"):
            if authorization != basic(*CALLER):
                return 401, {"error": "invalid_client"}
            form = parse_qs(body.decode())
            if form.get("grant_type") != ["client_credentials"]:
                return 400, {"error": "unsupported_grant_type"}
            return 200, self.grant(form.get("scope", [""])[0], opaque=path == "/token/opaque")
        asked = json.loads(body)
        if path == "/mint":
            return 200, {"token": self.mint(asked)}
        if path == "/opaque":
            self.opaque[asked["token"]] = asked["answer"]
            return 200, {}
        if path == "/rotate":
            return 200, {"kid": self.rotate(**asked)}
        if path == "/set":
            self.down = asked.get("down", self.down)
            self.slash = asked.get("slash", self.slash)
            self.said = asked.get("said", self.said)
            self.odd = asked.get("odd", self.odd)
            (self.prompt.clear if asked.get("slow") else self.prompt.set)()
            return 200, {}
        return 404, {}


def basic(name: str, secret: str) -> str:
    pair = f"{quote_plus(name)}:{quote_plus(secret)}"  # RFC 6749 section 2.3.1
    return "Basic " + b64encode(pair.encode()).decode()


def _b64(data: bytes) -> str:
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        if self.provider.down:
            return self._answer(503, {})
        found = self.provider.get(self.path)
        return self._answer(404 if found is None else 200, found or {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.provider.down and self.path != "/set":
            return self._answer(503, {})
        authorization = self.headers.get("authorization", "")
        return self._answer(*self.provider.post(self.path, body, authorization))

    def _answer(self, status: int, found: dict[str, Any]) -> None:
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.provider = Provider()
    Handler.provider.base = f"http://127.0.0.1:{server.server_port}"
    print(server.server_port, flush=True)
    server.serve_forever()
