"""Who really calls, and by which address: forwarding headers, believed only from trusted peers.

Of those only the ones that the operator named are read: what a proxy does not write itself it hands
on as its client wrote it, so one that knows ``X-Forwarded-For`` brings along any ``Forwarded``.

One reading for HTTP and gRPC: ``nearest`` is the address of the connection's other end (empty: a
Unix socket), ``fields`` are header fields or metadata, repeated ones joined by commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import quote

from ...protocol.errors import InvalidRequestError
from ..settings import FORWARDED_HEADERS

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::[0-9]{1,5})?"
)
_PREFIX = re.compile(r"(?:/(?:[A-Za-z0-9._~:@!$&'()*+;=-]|%[0-9A-Fa-f]{2}){1,200}){0,8}/?")
_CERTIFICATE, _FORWARDED, _FOR = b"x-forwarded-client-cert", b"forwarded", b"x-forwarded-for"
_PROTO, _NAME, _BEFORE = b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix"
CALLER = frozenset({_CERTIFICATE, _FORWARDED, _FOR})
"""The fields that speak of the caller."""

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""The scheme on a card by the one that a proxy names; some name a WebSocket's for all requests."""
_SAFE = "/:@!$&'()*+,;=~"  # what a path may hold beside letters (RFC 3986 section 3.3)

Fields = Mapping[bytes, bytes]


class Proxies:
    """Reads ``X-Forwarded-*`` or ``Forwarded`` (RFC 7239) of peers that are trusted."""

    def __init__(
        self, trusted: Sequence[str] = (), headers: Sequence[str] = FORWARDED_HEADERS
    ) -> None:
        """``trusted`` and ``headers`` as in ``HttpSettings.trusted_proxies`` and
        ``forwarded_headers``; ValueError names a wrong entry."""
        self._read = _names(headers)
        self._any = "*" in trusted
        self._unix = self._any or "unix" in trusted
        self._networks: list[IPv4Network | IPv6Network] = [
            ip_network(entry, strict=False) for entry in trusted if entry not in ("*", "unix")
        ]
        self._none = not trusted

    def trusts(self, address: str) -> bool:
        """Whether forwarding headers from ``address`` (empty: a Unix socket) are believed."""
        if not address:
            return self._unix
        if self._any:
            return True
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        # A socket that takes both families writes 10.0.0.7 as ::ffff:10.0.0.7.
        plain = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(parsed in network or plain in network for network in self._networks)

    def certificate(self, nearest: str, fields: Fields) -> str | None:
        """Return ``x-forwarded-client-cert`` of a proxy that was named (empty: it sent none); ``*``
        names nobody, and an identity is more than an address."""
        if self._none or self._any or not self.trusts(nearest):
            return None
        return fields.get(_CERTIFICATE, b"").decode("latin-1")

    def peer(self, nearest: str, fields: Fields) -> str:
        """Return the address of the caller, after trusted proxies; empty if there is none."""
        if self._none or not self.trusts(nearest):
            return nearest
        # From the right: the hop after an entry wrote it, so trusted proxies wrote everything up to
        # the first entry that is no trusted proxy. An entry without an address says nothing of the
        # entries before it, which may be the client's own.
        for hop in self._hops(fields):
            if not hop:
                break
            nearest = hop
            if not self.trusts(hop):
                break
        return nearest

    def base_url(self, scope: Mapping[str, Any], nearest: str, fields: Fields) -> str:
        """Return scheme, host and prefix that the caller used, every letter percent-encoded.

        ``scope`` is the ASGI scope of the request. Raises InvalidRequestError, which names the
        header field that is missing or wrong.
        """
        scheme: str = scope.get("scheme", "http")
        host = fields.get(b"host", b"").decode("latin-1")
        prefix = quote(root_of(scope), safe=_SAFE)
        if not self._none and self.trusts(nearest):
            if _FORWARDED in self._read:
                pairs = _pairs(next(_entries(fields, _FORWARDED), ""))
                scheme = pairs.get("proto") or scheme
                host = pairs.get("host") or host
            else:
                scheme = self._last(fields, _PROTO) or scheme
                host = self._last(fields, _NAME) or host
            before = _encoded(self._last(fields, _BEFORE))
            if before and not f"{prefix}/".startswith(f"{before}/"):
                prefix = before + prefix
        if not host:
            server = scope.get("server")
            host = f"{server[0]}:{server[1]}" if server and server[1] else ""
        known = _SCHEMES.get(scheme.lower())  # RFC 3986 section 3.1
        if known is None:
            raise InvalidRequestError(
                "The proxy does not say http or https: check X-Forwarded-Proto, or proto in "
                "Forwarded"
            )
        if not _HOST.fullmatch(host):
            raise InvalidRequestError(
                "The host of the request is missing or is no host: check Host, and behind a proxy "
                "X-Forwarded-Host, or host in Forwarded"
            )
        return f"{known}://{host}{prefix.rstrip('/')}"

    @property
    def vary(self) -> bytes:
        """The header fields that decide about ``base_url``, for ``Vary``; empty if none does."""
        return b"" if self._none else b", ".join(sorted(self._read - {_FOR}))

    def _last(self, fields: Fields, name: bytes) -> str:
        """Return the value that the nearest proxy wrote."""
        return next(_entries(fields, name), "") if name in self._read else ""

    def _hops(self, fields: Fields) -> Iterator[str]:
        """Yield the addresses of the hops, from the nearest; empty where an entry names none."""
        if _FORWARDED in self._read:
            for element in _entries(fields, _FORWARDED):
                yield _address(_pairs(element).get("for", ""))
        elif _FOR in self._read:
            for entry in _entries(fields, _FOR):
                yield _address(entry)


def root_of(scope: Mapping[str, Any]) -> str:
    """Return the path of the mount, decoded, without a slash at its end.

    Frameworks join a root path that ends with a slash and the path of a mount by two slashes.
    """
    return str(scope.get("root_path", "")).rstrip("/").replace("//", "/")


def _names(headers: Sequence[str]) -> frozenset[bytes]:
    known = (*FORWARDED_HEADERS, _FORWARDED.decode())
    named = [name.lower() for name in headers]
    for name in named:
        if name not in known:
            raise ValueError(
                f"http.forwarded_headers: {name!r} is none that is read; there are "
                f"{', '.join(known)}"
            )
    if _FORWARDED.decode() in named and {*named} & {*FORWARDED_HEADERS[:3]}:
        raise ValueError(
            "http.forwarded_headers: name either forwarded or the x-forwarded- ones, whichever the "
            "proxies write themselves"
        )
    return frozenset(name.encode() for name in named)


def _encoded(prefix: str) -> str:
    """Return the prefix of a path as a card shows it; empty where it is none."""
    path = quote(prefix.encode("latin-1"), safe=_SAFE + "%").rstrip("/")
    return path if _PREFIX.fullmatch(path) else ""


def _address(entry: str) -> str:
    """Strip the port; what is not an address (``unknown``, ``_hidden``) is left as it is."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _entries(fields: Fields, name: bytes) -> Iterator[str]:
    """Yield the entries of a list from the last to the first, each only when it is asked for.

    A caller may write thousands of entries before those of the proxies. A comma inside quotes
    divides too: no value that is read here may hold one.
    """
    if name not in fields:
        return
    text = fields[name].decode("latin-1")
    end = len(text)
    while end >= 0:
        start = text.rfind(",", 0, end)
        yield text[start + 1 : end].strip()
        end = start


def _pairs(element: str) -> dict[str, str]:
    """Return the pairs of one element of ``Forwarded`` (RFC 7239 section 4)."""
    pairs: dict[str, str] = {}
    for pair in element.split(";"):
        name, equals, value = pair.partition("=")
        if equals:
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            pairs[name.strip().lower()] = value
    return pairs
