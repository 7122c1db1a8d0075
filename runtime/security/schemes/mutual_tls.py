"""Mutual TLS: who a client certificate speaks of.

The TLS layer checks the chain; here its names are read. Behind a trusted proxy they come in
``x-forwarded-client-cert`` (as Envoy writes it), which a transport hands over only from proxies
whose addresses are configured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import unquote

from msgspec import Struct

from ....protocol import jose
from ....protocol.types import MutualTlsSecurityScheme, SecurityScheme
from ...call import Call, Principal
from .bearer import REALM
from .credential_cache import CredentialCache
from .ports import InvalidCredential, challenge, identify

Identity = Literal["spiffe", "uri", "dns", "email", "subject", "cn", "fingerprint"]
# No sign can be read in two ways, so each of these takes a time that grows with the length alone.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PLAIN = re.compile(r'[^;,"]*')
_LONGEST_NAME = 64
_UNREADABLE = "the forwarded client certificate cannot be read"
_ATTRIBUTE = re.compile(r'\s*([A-Za-z0-9.]+)=((?:[^,+"\\]|\\.)*)(?:[,+]|$)')
_KEEP = 3600.0


class Names(Struct, frozen=True):
    """What a certificate says of its holder."""

    subject: str = ""
    """RFC 4514."""
    common_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    fingerprint: str = ""
    """SHA-256, hex."""
    expires: float | None = None

    def of(self, identity: Identity) -> tuple[str, ...]:
        single = {"subject": self.subject, "fingerprint": self.fingerprint}
        if identity in single:
            return (single[identity],) if single[identity] else ()
        if identity == "spiffe":
            return tuple(uri for uri in self.uris if uri.startswith("spiffe://"))
        many = {"cn": self.common_names, "uri": self.uris, "dns": self.dns, "email": self.emails}
        return many[identity]


def names_of(der: bytes) -> Names:
    """Read a DER certificate. Raises InvalidCredential."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        certificate = x509.load_der_x509_certificate(der)
        try:
            extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            alternative: Any = extension.value
        except x509.ExtensionNotFound:
            alternative = x509.SubjectAlternativeName([])
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return Names(
            subject=certificate.subject.rfc4514_string(),
            common_names=tuple(str(one.value) for one in common),
            uris=tuple(alternative.get_values_for_type(x509.UniformResourceIdentifier)),
            dns=tuple(alternative.get_values_for_type(x509.DNSName)),
            emails=tuple(alternative.get_values_for_type(x509.RFC822Name)),
            fingerprint=sha256(der).hexdigest(),
            expires=certificate.not_valid_after_utc.timestamp(),
        )
    except ValueError:
        raise InvalidCredential("the client certificate cannot be read") from None


def _fields(text: str) -> Iterator[tuple[str, str, bool]]:
    """Yield name and value of each field of ``x-forwarded-client-cert``, and whether its element
    ends with it. Reads every sign once. Raises InvalidCredential.
    """
    position, end = 0, len(text)
    while position < end:
        equals = text.find("=", position, position + _LONGEST_NAME)
        name = text[position:equals].strip() if equals >= 0 else ""
        if not (name.isascii() and name.isalpha()):
            raise InvalidCredential(_UNREADABLE)
        position = equals + 1
        if text[position : position + 1] == '"':
            match = _QUOTED.match(text, position)
            if match is None:
                raise InvalidCredential(_UNREADABLE)
            # Quotes only: the other escapes are the subject's; without them it says another thing.
            value = match[1].replace('\\"', '"')
            position = match.end()
            while position < end and text[position].isspace():
                position += 1
        else:
            match = _PLAIN.match(text, position)
            assert match is not None
            value, position = match[0], match.end()
        delimiter = text[position : position + 1]
        if delimiter not in ("", ";", ","):
            raise InvalidCredential(_UNREADABLE)
        yield name.lower(), value, delimiter == ","
        position += 1


def forwarded_names(text: str) -> Names:
    """Read the last element of ``x-forwarded-client-cert``: the nearest proxy wrote it."""
    fields: dict[str, list[str]] = {}
    over = False
    for name, value, ends in _fields(text):
        if over:
            fields = {}
        fields.setdefault(name, []).append(value)
        over = ends
    if over:
        fields = {}
    if (cert := fields.get("cert")) is not None:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        try:
            certificate = x509.load_pem_x509_certificate(unquote(cert[0]).encode())
        except ValueError:
            raise InvalidCredential("the forwarded client certificate cannot be read") from None
        return names_of(certificate.public_bytes(Encoding.DER))
    subject = fields.get("subject", [""])[0]
    return Names(
        subject=subject,
        common_names=_common_names(subject),
        uris=tuple(fields.get("uri", ())),
        dns=tuple(fields.get("dns", ())),
        fingerprint=fields.get("hash", [""])[0].lower(),
    )


def _common_names(subject: str) -> tuple[str, ...]:
    """Return the CNs of an RFC 4514 text, read from its beginning: what looks like one inside the
    value of another attribute (``O=x\\,CN=admin``) is what the holder asked to have written. None
    where that cannot be told, as from a proxy that escapes what is escaped already."""
    position, names = 0, []
    while position < len(subject):
        match = None if "\\\\" in subject else _ATTRIBUTE.match(subject, position)
        if match is None:
            return ()
        if match[1].upper() == "CN":
            names.append(_unescaped(match[2]))
        position = match.end()
    return tuple(names)


def _unescaped(text: str) -> str:
    def sign(match: re.Match[bytes]) -> bytes:
        return bytes.fromhex(match[1].decode()) if len(match[1]) == 2 else match[1]

    return re.sub(rb"\\([0-9A-Fa-f]{2}|.)", sign, text.encode()).decode(errors="replace")


class MutualTls:
    """``identity`` says which name identifies the caller; ``allow`` are patterns (``*``) one of
    which it must match, ``None`` is whoever the certificate authorities vouch for. ``tenants`` and
    ``scopes`` map such patterns. A certificate with several such names is refused unless exactly
    one of them is allowed.
    """

    def __init__(
        self,
        *,
        identity: Identity = "spiffe",
        allow: Sequence[str] | None = None,
        tenants: Mapping[str, str] | None = None,
        scopes: Mapping[str, Sequence[str]] | None = None,
        forwarded: bool = False,
        name: str = "mtls",
    ) -> None:
        """``forwarded`` also believes what trusted proxies say of the client's certificate, and of
        what comes through them only that: the proxy's own certificate is nobody's."""
        jose.required()
        self.name = name
        self.card = SecurityScheme(mtls_security_scheme=MutualTlsSecurityScheme())
        self.forwarded = forwarded
        self._identity: Identity = identity
        self._allow = None if allow is None else tuple(allow)
        self._tenants = dict(tenants or {})
        self._scopes = dict(scopes or {})
        self._cache: CredentialCache[Principal] = CredentialCache(1000)

    def _key(self, call: Call) -> bytes | None:
        forwarded = call.forwarded_certificate
        if (
            self.forwarded and forwarded is not None
        ):  # the certificate of the connection is the proxy's
            return sha256(b"xfcc:" + forwarded.encode("latin-1")).digest() if forwarded else None
        return None if call.certificate is None else sha256(call.certificate).digest()

    def known(self, call: Call, now: float) -> Principal | None:
        key = self._key(call)
        return None if key is None else self._cache.get(key, now)

    def credential(self, call: Call) -> bytes | None:
        return self._key(call)

    async def verify(self, call: Call, now: float) -> Principal | None:
        key = self._key(call)
        if key is None:
            return None
        principal = self._cache.get(key, now)
        if principal is not None:
            return principal
        if self.forwarded and call.forwarded_certificate:
            names = forwarded_names(call.forwarded_certificate)
        else:
            assert call.certificate is not None
            names = names_of(call.certificate)
        if names.expires is not None and now >= names.expires:
            raise InvalidCredential("the client certificate has expired")
        subject = self._choose(names)
        principal = identify(
            scheme=self.name,
            issuer=self.name,
            subject=subject,
            tenant=next((t for p, t in self._tenants.items() if fnmatchcase(subject, p)), ""),
            scopes=[s for p, many in self._scopes.items() if fnmatchcase(subject, p) for s in many],
            claims={"subject": names.subject, "fingerprint": names.fingerprint},
            expires=names.expires,
        )
        self._cache.put(key, principal, min(now + _KEEP, names.expires or float("inf")))
        return principal

    def _choose(self, names: Names) -> str:
        identities = names.of(self._identity)
        if not identities:
            raise InvalidCredential(f"the client certificate names no {self._identity}")
        if self._allow is not None:
            identities = tuple(n for n in identities if any(fnmatchcase(n, p) for p in self._allow))
        if len(identities) > 1:
            raise InvalidCredential(f"the client certificate names more than one {self._identity}")
        if not identities:
            raise InvalidCredential("the client certificate is not one that is allowed here")
        return identities[0]

    def challenge(self, error: str | None) -> str:
        return challenge("Mutual", REALM, error)
