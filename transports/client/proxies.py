"""Which proxy an outbound call goes through: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

The variables are those of curl. Names in lower case win. ``HTTP_PROXY`` in capitals does not count
where ``REQUEST_METHOD`` is set, for a CGI program gets it from its caller (httpoxy).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

import httpcore2

from .errors import HttpError
from .urls import Origin, parse


def proxy_for(origin: Origin, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for ``origin``, ``None`` to connect without one."""
    names = [f"{origin.scheme}_proxy", f"{origin.scheme}_proxy".upper()]
    if "REQUEST_METHOD" in environ and "HTTP_PROXY" in names:
        names.remove("HTTP_PROXY")
    through = next(
        (url for name in (*names, "all_proxy", "ALL_PROXY") if (url := environ.get(name))), None
    )
    if through is None:
        return None
    excepted = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if any(_covers(entry.strip().lower(), origin) for entry in excepted.split(",")):
        return None
    return through if "://" in through else f"http://{through}"


def proxy(url: str) -> httpcore2.Proxy:
    """Return what httpcore2 needs to know about the proxy at ``url``. Raises HttpError."""
    scheme = url.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise HttpError(
            f"the proxy of the environment is of the kind {scheme}://; "
            "set HTTP_PROXY or HTTPS_PROXY to an http:// or https:// proxy, or unset ALL_PROXY"
        )
    origin = parse(url).origin
    parts = urlsplit(url)
    auth = None
    if parts.username is not None:
        auth = (unquote(parts.username).encode(), unquote(parts.password or "").encode())
    return httpcore2.Proxy(
        httpcore2.URL(
            scheme=origin.scheme.encode(),
            host=origin.bracketed.encode(),
            port=origin.port,
            target=b"/",
        ),
        auth=auth,
    )


def _covers(entry: str, origin: Origin) -> bool:
    """Whether an entry of NO_PROXY names ``origin``: ``*``, a name and all below it, an address, a
    network, each with or without a port."""
    if not entry:
        return False
    if entry == "*":
        return True
    host = origin.host.removesuffix(".")
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.endswith("]")):
        if int(port) != origin.port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        pass
    entry = entry.removeprefix("*").strip(".")
    return bool(entry) and (host == entry or host.endswith("." + entry))
