"""The paths of each agent: the first at the root, every one below ``/a2a/agents/{slug}``."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ..caller.proxies import root_of
from .exchange import Scope

AGENTS = "/a2a/agents/"
LIST = ("/a2a/agents", AGENTS)
"""Where the agents are listed."""
RPC = "/a2a"
_SAFE = "/:@!$&'()*+,;=~"  # what a path may hold beside letters (RFC 3986 section 3.3)
_CARDS = ("/.well-known/agent-card.json", "/.well-known/agent.json")


class Target(NamedTuple):
    """The agent that a path names. ``prefix`` is the path of the agent as this server writes it,
    never as the caller wrote it; empty at the root."""

    agent: str
    prefix: str

    def routed(self, tenant: str | None, agents: Container[str]) -> str | None:
        """Return the agent that the tenant of a request names (multi-tenancy, approach 3).

        ``None``: the path itself names the agent, or the tenant names none of ``agents``.
        """
        return tenant if not self.prefix and tenant and tenant in agents else None

    def of(self, agent: str) -> Target:
        """Return where ``agent`` is, as a request to this target was routed to it."""
        return self if agent == self.agent else Target(agent, AGENTS + agent)


class Routes:
    """The paths of one application, percent-encoded. ``rpc`` and ``cards`` hold every path of
    JSON-RPC and of a card."""

    def __init__(self, slugs: Iterable[str]) -> None:
        """``slugs`` name the agents; the first agent is also served at the root."""
        slugs = tuple(slugs)
        self._default = Target(slugs[0], "")
        self._agents = {slug: Target(slug, AGENTS + slug) for slug in slugs}
        self.rpc: dict[str, Target] = {}
        self.cards: dict[str, Target] = {}
        for target in (self._default, *self._agents.values()):
            for path in ("", "/", RPC, RPC + "/"):
                self.rpc[target.prefix + path] = target
            for path in _CARDS:
                self.cards[target.prefix + path] = target

    def below(self, path: str) -> tuple[Target, str] | None:
        """Split a path into an agent and the path below the agent; ``None``: no such agent."""
        if not path.startswith(AGENTS):
            return self._default, path
        slug, slash, rest = path[len(AGENTS) :].partition("/")
        target = self._agents.get(slug)
        return None if target is None else (target, slash + rest)


CARD = _CARDS[0]
"""The path of a card below its agent's prefix."""


def rpc_path(prefix: str) -> str:
    """Return the path of JSON-RPC below an agent's prefix, as cards show it."""
    return "/" if prefix else RPC


def path_of(scope: Scope) -> str:
    """Return the path below the mount, percent-encoded as the client sent it.

    Routing compares this path: a rule of a proxy for the literal ``/metrics`` then holds here too.
    Servers and frameworks differ on whether the path includes ``root_path``: both work.
    """
    raw: bytes | None = scope.get("raw_path")
    path = quote(scope["path"], safe=_SAFE) if raw is None else raw.decode("latin-1")
    if "?" in path:
        path = path.partition("?")[0]
    if path[:1] != "/" and scope.get("http_version", "1.1").startswith("1"):
        path = _origin_form(path)
    root: str = scope.get("root_path", "")
    return path if not root else _below(path, root_of(scope), scope.get("app_root_path", ""))


def _origin_form(target: str) -> str:
    """Return the path of a target that is a whole address (RFC 9112 section 3.2.2)."""
    scheme, colon, rest = target.partition("://")
    if not colon or scheme.lower() not in ("http", "https"):
        return target
    _, slash, path = rest.partition("/")
    return slash + path or "/"


def _below(path: str, root: str, stripped: str) -> str:
    """Take ``root`` off ``path``.

    ``stripped`` is the part of ``root`` that belongs to the host application (``app_root_path`` of
    Starlette and FastAPI): a proxy in front may have taken that part off the path already.
    """
    below = _strip(path, root)
    stripped = stripped.rstrip("/")
    if below is None and stripped and root.startswith(f"{stripped}/"):
        below = _strip(path, root[len(stripped) :])
    return path if below is None else below


def _strip(path: str, root: str) -> str | None:
    """Take ``root``, which is decoded, off the encoded ``path``; ``None``: the path is elsewhere.

    A client may encode more letters than it must, so the decoded forms are compared.
    """
    if path == root or path.startswith(root + "/"):
        return path[len(root) :]
    if "%" not in path:
        return None
    wanted = root.encode("utf-8", "surrogatepass")
    end = path.find("/", len(root))  # each byte of the root takes one letter or three
    while 0 <= end <= 3 * len(wanted):
        if _octets(path[:end]) == wanted:
            return path[end:]
        end = path.find("/", end + 1)
    return "" if _octets(path) == wanted else None


def _octets(path: str) -> bytes:
    return unquote_to_bytes(path.encode("latin-1"))
