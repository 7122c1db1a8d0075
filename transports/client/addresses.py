"""Which addresses an outbound call may connect to.

A URL that an operator or a user typed may lead anywhere (``ANY``). A URL of a stranger, such as a
webhook, may lead to the public internet only (``PUBLIC``), or the stranger would reach the
services beside this server. A name says nothing about where it leads: ``network`` resolves the
name, asks the policy about every answer, and connects to an address that was checked.

The public internet is what the tables below leave over. They are ours because ``is_global`` of
the standard library changes with the version of Python.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from msgspec import Struct

from .errors import AddressRefusedError
from .urls import Origin, for_display, parse

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, metadata of Alibaba Cloud
        "127.0.0.0/8",  # this machine
        "168.63.129.16/32",  # Azure's services for a virtual machine
        "169.254.0.0/16",  # link-local, metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, metadata of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
"""All that IANA has given out; outside are loopback, private, link-local and multicast."""
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_WRAPPED = tuple(
    (IPv6Network(network), shift)
    for network, shift in (
        ("::/96", 0),  # IPv4-compatible
        ("::ffff:0:0/96", 0),  # IPv4-mapped
        ("::ffff:0:0:0/96", 0),  # IPv4-translated
        ("64:ff9b::/96", 0),  # NAT64
        ("2002::/16", 80),  # 6to4
    )
)
"""Networks whose addresses hold one of IPv4, and how many bits stand behind it."""
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
_NAMES = (
    "localhost", "local", "internal", "localdomain", "home.arpa", "metadata", "instance-data",
)  # fmt: skip
"""Names that mean something near, and all names below them."""
_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")


class AddressPolicy(Struct, frozen=True, kw_only=True):
    """What is allowed. Without exceptions it is the public internet over https."""

    private: bool = False
    """Whether every address, port, name and scheme is allowed."""
    schemes: tuple[str, ...] = ("https",)
    low_ports: tuple[int, ...] = (80, 443)
    """The ports below 1024 that are allowed."""
    hosts: tuple[str, ...] = ()
    """Names (ASCII, lower case) that may lead to any address, on any port."""
    networks: tuple[Network, ...] = ()
    """Networks that are allowed though they are not public."""

    def check_url(self, url: str) -> Origin:
        """Return the origin of ``url``, before anything is resolved.

        Raises AddressRefusedError where the policy refuses the URL, HttpError where it is none.
        """
        parts = parse(url)
        origin = parts.origin
        if self.private:
            return origin
        if parts.basic is not None:
            raise AddressRefusedError(f"the URL of {origin} has a user name or password")
        self.check_origin(origin)
        return origin

    def check_origin(self, origin: Origin) -> None:
        """Raise AddressRefusedError where the scheme, the port or the name is not allowed."""
        if self.private:
            return
        if origin.scheme not in self.schemes:
            raise AddressRefusedError(f"{origin} must begin with {' or '.join(self.schemes)}://")
        host = origin.host.removesuffix(".")
        if host in self.hosts:
            return
        if origin.port < 1024 and origin.port not in self.low_ports:
            raise AddressRefusedError(f"{origin} has a port that is not allowed")
        literal = _literal(host)
        if literal is not None:
            self.check_address(literal, origin.host)
        elif _NUMERIC.fullmatch(host.rpartition(".")[2]):
            # Some resolvers read 0x7f.1 or 2130706433 as an address of IPv4.
            raise AddressRefusedError(f"{origin} has an IPv4 address in an unusual form")
        elif any(host == name or host.endswith("." + name) for name in _NAMES):
            raise AddressRefusedError(f"{origin} is a name for something in this network")

    def check_address(self, address: str | Address, host: str) -> None:
        """Raise AddressRefusedError unless ``address``, which ``host`` leads to, is allowed."""
        if self.private or host.removesuffix(".") in self.hosts:
            return
        target = ip_address(address) if isinstance(address, str) else address
        if any(target in network for network in self.networks):
            return
        inner = unwrapped(target)
        if any(inner in network for network in self.networks) or is_public(inner):
            return
        raise AddressRefusedError(f"{host} leads to {target}, which is not a public address")


ANY = AddressPolicy(private=True)
"""For URLs that an operator or a user typed."""
PUBLIC = AddressPolicy()
"""For URLs of strangers."""


def is_public(address: Address) -> bool:
    """Return whether ``address`` belongs to the public internet, as does all it wraps."""
    address = unwrapped(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def unwrapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, else ``address``."""
    if isinstance(address, IPv4Address):
        return address
    for network, shift in _WRAPPED:
        # :: and ::1 are addresses of their own, though ::/96 holds them.
        if address in network and int(address) > 1:
            return IPv4Address(int(address) >> shift & 0xFFFF_FFFF)
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Return the networks that an operator wrote (CIDR); raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def check_secret_url(url: str) -> str:
    """Return ``url`` if secrets and keys may go over it: https, or this very machine.

    Raises ValueError.
    """
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not local:
        raise ValueError(f"{for_display(url)} must be an https:// address")
    return url


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
