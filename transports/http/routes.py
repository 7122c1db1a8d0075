"""Where each agent is served: the first one at the root, every one below ``/a2a/agents/{slug}``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote

from ...protocol.types import AgentInterface
from .exchange import Exchange, Scope

Interfaces = Callable[[Exchange, str], tuple[AgentInterface, ...]]
"""Where an agent is served, as this caller reaches it."""

AGENTS = "/a2a/agents/"
_CARDS = ("/.well-known/agent-card.json", "/.well-known/agent.json")
RPC = "/a2a"


class Places:
    """The paths of one application. ``rpc`` and ``cards`` map a path to an agent's slug."""

    def __init__(self, slugs: Iterable[str]) -> None:
        self.slugs = tuple(slugs)
        self.default = self.slugs[0]
        self.rpc: dict[str, str] = {}
        self.cards: dict[str, tuple[str, str]] = {}
        """Path to (slug, prefix)."""
        for prefix, slug in self._prefixes():
            for path in ("", "/", RPC, RPC + "/"):
                self.rpc[prefix + path] = slug
            for path in _CARDS:
                self.cards[prefix + path] = (slug, prefix)

    def _prefixes(self) -> Iterable[tuple[str, str]]:
        yield "", self.default
        for slug in self.slugs:
            yield AGENTS + slug, slug

    def prefix_of(self, path: str) -> str:
        """Return the prefix of the agent that a decoded path belongs to; empty at the root."""
        if not path.startswith(AGENTS):
            return ""
        return AGENTS + path[len(AGENTS) :].partition("/")[0]

    def rpc_path(self, prefix: str) -> str:
        """Return the path of JSON-RPC below an agent's prefix, as cards show it."""
        return "/" if prefix else RPC

    def below(self, raw: str) -> tuple[str, str] | None:
        """Split a raw path into (slug, path below the agent); ``None``: no such agent."""
        if not raw.startswith(AGENTS):
            return self.default, raw
        slug, slash, rest = raw[len(AGENTS) :].partition("/")
        return (slug, slash + rest) if AGENTS + slug in self.rpc else None


def path_of(scope: Scope) -> str:
    """Return the decoded path below the root path.

    Servers and frameworks differ on whether ``path`` includes ``root_path``: both are understood.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return _strip(path, root.rstrip("/")) if root else path


def raw_path_of(scope: Scope) -> str:
    """Return the path below the root path, still percent-encoded."""
    root = quote(scope.get("root_path", "").rstrip("/"))
    raw: bytes | None = scope.get("raw_path")
    path = quote(scope["path"], safe="/:@!$&'()*+,;=~") if raw is None else raw.decode("latin-1")
    path = path.partition("?")[0]
    return _strip(path, root) if root else path


def _strip(path: str, root: str) -> str:
    return path[len(root) :] if path == root or path.startswith(root + "/") else path
