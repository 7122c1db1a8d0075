"""Credentials that were verified before: a bounded number of digests, never the credentials."""

from __future__ import annotations

from hashlib import blake2b
from typing import Generic, TypeVar

V = TypeVar("V")


def digest(credential: str) -> bytes:
    """Return the digest by which the server remembers a credential."""
    return blake2b(credential.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class CredentialCache(Generic[V]):
    """At most ``2 * size`` values, each until its time ends; the less used half goes first.

    There are two dicts. When the younger is full, the cache drops the older. An entry that is in
    use moves to the younger at no cost, so a flood of new entries cannot push it out.
    """

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._young: dict[bytes, tuple[float, V]] = {}
        self._old: dict[bytes, tuple[float, V]] = {}

    def get(self, key: bytes, now: float) -> V | None:
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.pop(key, None)
            if entry is None:
                return None
            self._keep(key, entry)
        if now >= entry[0]:
            self._young.pop(key, None)
            return None
        return entry[1]

    def put(self, key: bytes, value: V, until: float) -> None:
        self._keep(key, (until, value))

    def drop(self, key: bytes) -> None:
        self._young.pop(key, None)
        self._old.pop(key, None)

    def _keep(self, key: bytes, entry: tuple[float, V]) -> None:
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[key] = entry

    def clear(self) -> None:
        self._young.clear()
        self._old.clear()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
