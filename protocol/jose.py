"""Keys and signatures (RFC 7515, 7517, 7518, 8037): the little of JOSE that is used here.

The cryptography is PyJWT's and ``cryptography``'s, imported when first needed. Algorithms are
pinned by whoever verifies; a key is used only with the algorithms of its own kind; symmetric
algorithms and ``none`` do not exist; nothing in a header leads to a key but its ``kid``.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, lru_cache
from hashlib import sha256
from importlib import import_module
from typing import Any

import msgspec
from msgspec import Struct

# Algorithm to (kty, crv)
_KINDS: dict[str, tuple[str, str]] = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "EdDSA": ("OKP", "Ed25519"),
}
ALGORITHMS = frozenset(_KINDS)
_RSA_BITS = 2048
# Its two signs for the two of base64, which are not its own: strict decoding refuses what is left.
_URL_SAFE = bytes.maketrans(b"-_+/=", b"+/!!!")
_THUMBPRINT = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}


class JoseError(ValueError):
    """A key or a signature is no good; the text names no secret."""


class Key(Struct, frozen=True):
    """A public key: ``algorithms`` are those it may be used with."""

    kid: str
    algorithms: frozenset[str]
    public: Any
    """Of ``cryptography``."""


class Token(Struct, frozen=True):
    """A compact JWS taken apart, not yet believed."""

    text: str
    header: Mapping[str, Any]
    payload: bytes

    @property
    def algorithm(self) -> str:
        alg = self.header.get("alg")
        return alg if isinstance(alg, str) else ""

    @property
    def kid(self) -> str | None:
        name = self.header.get("kid")
        return name if isinstance(name, str) else None


def required() -> None:
    """Import what is imported when first needed: at start, so that no caller finds out that it is
    not there. Raises JoseError, which says what to install."""
    try:
        import_module("jwt")
        import_module("cryptography")
    except ImportError:
        raise JoseError(
            "PyJWT and cryptography are not installed: pip install 'greenroom[auth]'"
        ) from None


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The bytes of unpadded base64url; raises JoseError for anything else."""
    try:
        raw = text.encode("ascii").translate(_URL_SAFE)
        return a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except ValueError:
        raise JoseError("not base64url") from None


def parse(text: str) -> Token:
    """Take a compact JWS apart; raises JoseError."""
    parts = text.split(".")
    if len(parts) != 3:
        raise JoseError("not a signed token")
    return Token(text, header_of(parts[0]), unb64(parts[1]))


@lru_cache(maxsize=64)
def header_of(protected: str) -> Mapping[str, Any]:
    """Return a protected header; raises JoseError. Remembered: tokens of one key have the same."""
    try:
        header = msgspec.json.decode(unb64(protected))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise JoseError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise JoseError("its header is no object")
    if "crit" in header or header.get("b64", True) is not True:
        raise JoseError("it needs JOSE extensions that are not understood")
    return header


def verify(token: Token, keys: Iterable[Key], algorithms: Collection[str]) -> Key:
    """Return the key that made the signature; raises JoseError if none of ``keys`` did."""
    algorithm = token.algorithm
    if algorithm not in algorithms or algorithm not in ALGORITHMS:
        raise JoseError("its algorithm is not accepted")
    signed, _, signature = token.text.rpartition(".")
    message, proof = signed.encode("ascii"), unb64(signature)
    check = _checker(algorithm)
    for key in keys:
        if algorithm in key.algorithms and check(message, key.public, proof):
            return key
    raise JoseError("its signature does not verify")


@cache
def _checker(algorithm: str) -> Callable[[bytes, Any, bytes], bool]:
    from jwt import get_algorithm_by_name

    return get_algorithm_by_name(algorithm).verify


# --- keys ---------------------------------------------------------------------------------------


def keys_of(jwks: Any) -> list[Key]:
    """Return the usable signature keys of a JWK Set; others are passed over."""
    required()
    listed = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(listed, list):
        raise JoseError("not a JWK Set: it has no list of keys")
    return [key for jwk in listed if isinstance(jwk, dict) and (key := _key(jwk)) is not None]


def _key(jwk: dict[str, Any]) -> Key | None:
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    kinds = _fitting(str(jwk.get("kty")), str(jwk.get("crv") or ""))
    uses = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        return None
    if (only := jwk.get("alg")) is not None:
        kinds &= {str(only)}
    if not kinds:
        return None
    public = {name: value for name, value in jwk.items() if name not in ("d", "p", "q", "dp", "dq", "qi")}  # fmt: skip # noqa: E501
    try:
        public_key = PyJWK(public, algorithm=min(kinds)).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if getattr(public_key, "key_size", _RSA_BITS) < _RSA_BITS and jwk.get("kty") == "RSA":
        return None
    return Key(str(jwk.get("kid") or ""), frozenset(kinds), public_key)


def _fitting(kty: str, crv: str) -> set[str]:
    return {name for name, kind in _KINDS.items() if kind == (kty, crv if kty != "RSA" else "")}


def key_of_pem(pem: bytes, kid: str = "") -> Key:
    """Return the public key of a PEM file: a public key, a certificate or a private key."""
    jwk = _jwk(_public(_load(pem)))
    return _checked({**jwk, "kid": kid or thumbprint(jwk)})


def _checked(jwk: dict[str, Any]) -> Key:
    key = _key(jwk)
    if key is None:
        raise JoseError("use an EC P-256 or P-384, RSA (2048 bits or more) or Ed25519 key")
    return key


def material(key: Key) -> bytes:
    """What makes it that key, whatever its name: the public key itself (DER)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der: bytes = key.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return der


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638."""
    members = {name: jwk[name] for name in _THUMBPRINT[jwk["kty"]]}
    return b64(sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())


class SigningKey:
    """A private key. Without ``algorithm`` the kind of key decides (ES256, RS256 or EdDSA), and
    without ``kid`` its thumbprint; ``jku`` is where its public half is published. ``sdk_form``
    has it sign cards in the canonical form of the official SDK too (see ``signing``).
    """

    def __init__(
        self,
        pem: bytes,
        *,
        kid: str = "",
        algorithm: str = "",
        jku: str | None = None,
        sdk_form: bool = False,
    ) -> None:
        private = _load(pem)
        if not hasattr(private, "sign"):
            raise JoseError("signing needs a private key (PEM)")
        jwk = _jwk(_public(private))
        self.kid = kid or thumbprint(jwk)
        fitting = _fitting(jwk["kty"], jwk.get("crv", ""))
        self.algorithm = algorithm or min(fitting - {"PS256", "PS384", "PS512"}, default="")
        if self.algorithm not in fitting:
            raise JoseError(f"a key of this kind does not sign with {algorithm or 'anything'}")
        self.jku = jku
        self.sdk_form = sdk_form
        self.public_jwk = {**jwk, "kid": self.kid, "alg": self.algorithm, "use": "sig"}
        self.public = _checked(self.public_jwk)
        self.private = private
        """Of ``cryptography``."""

    def sign(
        self, payload: bytes, typ: str = "JOSE", extra: Mapping[str, Any] | None = None
    ) -> str:
        """Return the compact JWS of ``payload``, with ``extra`` members of the header."""
        from jwt import PyJWS

        headers = {"typ": typ, "kid": self.kid, **({"jku": self.jku} if self.jku else {})}
        headers |= extra or {}
        return PyJWS().encode(payload, self.private, algorithm=self.algorithm, headers=headers)

    def __repr__(self) -> str:
        return f"<SigningKey {self.algorithm} {self.kid}>"


def _load(pem: bytes) -> Any:
    required()
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization as s

    try:
        if b"PRIVATE KEY" in pem:
            return s.load_pem_private_key(pem, None)
        if b"BEGIN CERTIFICATE" in pem:
            return x509.load_pem_x509_certificate(pem).public_key()
        return s.load_pem_public_key(pem)
    except (ValueError, TypeError):
        raise JoseError("not a PEM key (encrypted ones are not read)") from None


def _public(key: Any) -> Any:
    return key.public_key() if hasattr(key, "sign") else key


def _jwk(public: Any) -> dict[str, Any]:
    from jwt import algorithms
    from jwt.exceptions import PyJWTError

    for kind in (algorithms.ECAlgorithm, algorithms.RSAAlgorithm, algorithms.OKPAlgorithm):
        try:
            exported = kind.to_jwk(public)
        except (PyJWTError, AttributeError, TypeError):
            continue
        jwk: dict[str, Any] = json.loads(exported) if isinstance(exported, str) else exported
        jwk.pop("key_ops", None)
        return jwk
    raise JoseError("use an EC, RSA or Ed25519 key")
