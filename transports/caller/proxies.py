"""Who really calls, and by which address: forwarding headers, believed only from trusted peers.

Of those only the ones that the operator named are read: what a proxy does not write itself it hands
on as its client wrote it, so one that knows ``X-Forwarded-For`` brings along any ``Forwarded``.

One reading for HTTP and gRPC: ``nearest`` is the address of the connection's other end (empty: a
Unix socket), ``fields`` are header fields or metadata, repeated ones joined by commas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from ..http.exchange import Exchange
from ..http.settings import FORWARDED_HEADERS

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::[0-9]{1,5})?"
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]{1,64}){0,8}/?")
_CERTIFICATE, _FORWARDED, _FOR = b"x-forwarded-client-cert", b"forwarded", b"x-forwarded-for"
_PROTO, _NAME, _BEFORE = b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix"
CALLER = frozenset({_CERTIFICATE, _FORWARDED, _FOR})
"""The fields that speak of the caller."""

Fields = Mapping[bytes, bytes]

_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"([^"]*)"|([^;,"\s]*))\s*(?:[;]|$)')


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
        # From the right: each entry was written by the hop after it, so the first one that is not
        # a trusted proxy is as far as the word of trusted ones goes. One without an address says
        # nothing of the ones before it, which may be the client's own.
        for hop in reversed(self._hops(fields)):
            if not hop:
                break
            nearest = hop
            if not self.trusts(hop):
                break
        return nearest

    def base_url(self, exchange: Exchange) -> str | None:
        """Return scheme, host and prefix that the caller used; ``None``: its Host is no host."""
        scope = exchange.scope
        scheme: str = scope.get("scheme", "http")
        host = exchange.fields.get(b"host", b"").decode("latin-1")
        prefix: str = scope.get("root_path", "")
        if not self._none and self.trusts(exchange.nearest):
            fields = exchange.fields
            if _FORWARDED in self._read:
                last = _forwarded(fields)[-1:]
                told = last[0] if last else {}
                scheme = told.get("proto") or scheme
                host = told.get("host") or host
            else:
                scheme = self._last(fields, _PROTO) or scheme
                host = self._last(fields, _NAME) or host
            before = self._last(fields, _BEFORE).rstrip("/")
            if before and _PREFIX.fullmatch(before) and not prefix.startswith(before):
                prefix = before + prefix
        if not host:
            server = scope.get("server")
            host = f"{server[0]}:{server[1]}" if server and server[1] else ""
        if scheme not in ("http", "https") or not _HOST.fullmatch(host):
            return None
        return f"{scheme}://{host}{prefix.rstrip('/')}"

    @property
    def vary(self) -> bytes:
        """The header fields that decide about ``base_url``, for ``Vary``; empty if none does."""
        return b"" if self._none else b", ".join(sorted(self._read - {_FOR}))

    def _last(self, fields: Fields, name: bytes) -> str:
        """The value that the nearest proxy wrote."""
        if name not in self._read:
            return ""
        return fields.get(name, b"").decode("latin-1").rpartition(",")[2].strip()

    def _hops(self, fields: Fields) -> list[str]:
        if _FORWARDED in self._read:
            return [_address(pairs.get("for", "")) for pairs in _forwarded(fields)]
        if _FOR in self._read:
            raw = fields.get(_FOR, b"").decode("latin-1")
            return [_address(entry.strip()) for entry in raw.split(",")]
        return []


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


def _address(entry: str) -> str:
    """Strip the port; what is not an address (``unknown``, ``_hidden``) is left as it is."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _forwarded(fields: Fields) -> list[dict[str, str]]:
    raw = fields.get(_FORWARDED)
    if raw is None:
        return []
    # A comma inside quotes does not separate; no value that we read may hold one.
    elements = raw.decode("latin-1").split(",")
    return [
        {name.lower(): quoted or plain for name, quoted, plain in _PAIR.findall(element)}
        for element in elements
    ]
