"""Real sockets and a real issuer, by the machine's clock."""

from __future__ import annotations

from tests.support.clock import on_asyncio
from tests.support.issuer import issuer

__all__ = ["issuer", "on_asyncio"]
