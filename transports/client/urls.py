"""URLs as people write them, turned into what HTTP sends (RFC 3986, RFC 3987, UTS 46)."""

from __future__ import annotations

import re
from base64 import b64encode
from ipaddress import IPv6Address
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

import idna
from msgspec import Struct

from .errors import HttpError

_PORTS = {"http": 80, "https": 443}
_SAFE = "%/:@!$&'()*+,;=~"
"""Characters of a path that stay as they are; a percent sign begins what is encoded already."""
_HOST = re.compile(r"[a-z0-9._~-]+")
_BEHIND_PATH = re.compile(r"(?s)[?#].*")
_USERINFO = re.compile(r"(?s)^([^/?#]*//)[^/?#]*@")


class Origin(Struct, frozen=True):
    """Who gets credentials: scheme, host (ASCII, lower case) and port (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @property
    def bracketed(self) -> str:
        """The host as a URL has it."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def default_port(self) -> bool:
        return self.port == _PORTS[self.scheme]

    @property
    def authority(self) -> str:
        """What the header ``Host`` says."""
        return self.bracketed if self.default_port else f"{self.bracketed}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Url(Struct, frozen=True):
    """An http or https URL, ready to be asked for."""

    origin: Origin
    target: str
    """Path and query, percent-encoded."""
    basic: str | None = None
    """The value of ``Authorization`` that the user name and password of the URL make."""

    def __str__(self) -> str:
        """Return the URL for messages, without user name, password and query (maybe a key)."""
        return f"{self.origin}{self.target.partition('?')[0]}"

    def join(self, location: str) -> Url:
        """Return where a ``Location`` header leads. Raises HttpError."""
        try:
            return parse(urljoin(f"{self.origin}{self.target}", location))
        except ValueError:
            raise HttpError(
                f"{self} redirects to {for_display(location)!r}, which is no URL"
            ) from None


def parse(url: str) -> Url:
    """Return the parts of ``url``; raises HttpError where it is no http or https URL."""
    shown = for_display(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise HttpError(f"{shown!r} is not a URL: check its host and its port") from None
    if parts.netloc.rpartition("@")[2].startswith("[") and ":" not in (host or ""):
        raise HttpError(f"{shown!r} has no valid IPv6 address")
    if parts.scheme not in _PORTS or not host:
        raise HttpError(f"{shown!r} is not an http:// or https:// address")
    origin = Origin(
        parts.scheme, _ascii(host, shown), _PORTS[parts.scheme] if port is None else port
    )
    path = _encoded(parts.path) or "/"
    query = f"?{_encoded(parts.query, '?')}" if parts.query else ""
    return Url(origin, path + query, _basic(parts.username, parts.password))


def origin_of(url: str) -> Origin:
    """Return the origin of ``url``; raises HttpError."""
    return parse(url).origin


def redacted(url: str) -> str:
    """Return ``url`` without user name and password, for messages."""
    return _USERINFO.sub(r"\1", url)


def for_display(url: str) -> str:
    """Return ``url`` without user name, password, query and fragment: they may hold a key."""
    return _BEHIND_PATH.sub("", redacted(url))


def _encoded(text: str, more: str = "") -> str:
    return quote(text, safe=_SAFE + more, errors="surrogateescape")


def _ascii(host: str, shown: str) -> str:
    """Return the host as DNS and HTTP write it."""
    if ":" in host:
        try:
            return str(IPv6Address(host))
        except ValueError:
            raise HttpError(f"{shown!r} has no valid IPv6 address") from None
    try:
        name = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except (idna.IDNAError, UnicodeError) as error:
        raise HttpError(f"{shown!r} has no valid host name: {error}") from None
    if not (_HOST.fullmatch(name) and all(name.removesuffix(".").split("."))):
        raise HttpError(f"{shown!r} has no valid host name")
    return name


def _basic(user: str | None, password: str | None) -> str | None:
    if user is None:
        return None
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password or "")
    return f"Basic {b64encode(pair).decode()}"
