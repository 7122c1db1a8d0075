"""Which origins get the headers that a user gave: the one that the user named, and no other.

A card may name another server, and a redirect may lead to one. Neither gets the user's keys unless
the user lists its origin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .urls import Origin, origin_of, parse


class Credentials:
    """Headers and the origins that they are for. No origin is added to them later."""

    def __init__(
        self, url: str, headers: Mapping[str, str] | None = None, origins: Iterable[str] = ()
    ) -> None:
        """``url`` is what the user typed; its user name and password become a Basic header.

        ``origins`` are URLs of other servers that get the headers too. Raises HttpError.
        """
        typed = parse(url)
        self._headers = dict(headers or {})
        if typed.basic is not None and not any(
            name.lower() == "authorization" for name in self._headers
        ):
            self._headers["Authorization"] = typed.basic
        self.origins: frozenset[Origin] = frozenset([typed.origin, *map(origin_of, origins)])

    def headers_for(self, url: str) -> dict[str, str]:
        """Return the headers that go to ``url``. Raises HttpError where it is no URL."""
        return dict(self._headers) if origin_of(url) in self.origins else {}

    def withheld_from(self, url: str) -> bool:
        """Return whether there are headers, and ``url`` gets none of them."""
        return bool(self._headers) and origin_of(url) not in self.origins
