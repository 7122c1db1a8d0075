"""The header fields of a request as a mapping, read only when somebody looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class HeaderView(Mapping[str, str]):
    """All header fields, or gRPC metadata, by lower-case name; repeated fields joined by commas.

    The view makes its dict when a caller iterates over it; ``get`` looks up one field without it.
    """

    __slots__ = ("_fields", "_raw")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        """``raw`` are the fields as they came, names in lower case."""
        self._raw = raw
        self._fields: dict[str, str] | None = None

    def _read(self) -> dict[str, str]:
        if self._fields is None:
            fields: dict[str, str] = {}
            for name, value in self._raw:
                key, text = name.decode("latin-1").lower(), value.decode("latin-1")
                fields[key] = f"{fields[key]}, {text}" if key in fields else text
            self._fields = fields
        return self._fields

    def __getitem__(self, key: str) -> str:
        return self._read()[key]

    def get(self, key: str, default: Any = None) -> Any:
        """Return one field, or ``default``; the gate does so for every request."""
        if self._fields is not None:
            return self._fields.get(key, default)
        wanted = key.encode("latin-1")
        joined: bytes | None = None
        for name, value in self._raw:
            if name == wanted:
                joined = value if joined is None else joined + b", " + value
        return default if joined is None else joined.decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())
