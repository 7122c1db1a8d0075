"""The paths of each agent: the first at the root, every one below ``/a2a/agents/{slug}``."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple
from urllib.parse import quote

from .exchange import Scope

AGENTS = "/a2a/agents/"
RPC = "/a2a"
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


def rpc_path(prefix: str) -> str:
    """Return the path of JSON-RPC below an agent's prefix, as cards show it."""
    return "/" if prefix else RPC


def path_of(scope: Scope) -> str:
    """Return the path below the root path, percent-encoded as the client sent it.

    Routing compares this path: a rule of a proxy for the literal ``/metrics`` then holds here too.
    Servers and frameworks differ on whether the path includes ``root_path``: both work.
    """
    raw: bytes | None = scope.get("raw_path")
    path = quote(scope["path"], safe="/:@!$&'()*+,;=~") if raw is None else raw.decode("latin-1")
    if "?" in path:
        path = path.partition("?")[0]
    root: str = scope.get("root_path", "")
    return _strip(path, quote(root.rstrip("/"))) if root else path


def _strip(path: str, root: str) -> str:
    return path[len(root) :] if path == root or path.startswith(root + "/") else path
