"""``WWW-Authenticate``: the challenges in it (RFC 9110 section 11.6.1)."""

from __future__ import annotations

import re

from msgspec import Struct

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_ITEM = re.compile(
    rf'\s*(?:(?P<name>{_TOKEN})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>{_TOKEN}))'
    rf"|(?P<scheme>{_TOKEN})(?:\s+(?P<token68>[A-Za-z0-9._~+/-]+=*)(?=\s*(?:,|$)))?)\s*,?"
)
_LONGEST = 8192
"""Characters of the field that are read."""


class Challenge(Struct, frozen=True):
    """``scheme`` is in lower case, as are the names of ``parameters``."""

    scheme: str
    parameters: dict[str, str]


def challenges(field: str) -> list[Challenge]:
    """Return the challenges in ``field``; what is not understood ends the list."""
    challenges: list[Challenge] = []
    text, position = field[:_LONGEST], 0
    while position < len(text) and (item := _ITEM.match(text, position)) is not None:
        if item.end() == position:
            break
        position = item.end()
        if item["scheme"]:
            challenges.append(Challenge(item["scheme"].lower(), {}))
        elif challenges:
            value = item["plain"]
            if value is None:
                value = re.sub(r"\\(.)", r"\1", item["quoted"])
            challenges[-1].parameters.setdefault(item["name"].lower(), value)
    return challenges


def challenged_scopes(field: str) -> tuple[str, ...]:
    """Return the scopes that a Bearer challenge says are missing (RFC 6750 section 3.1)."""
    for challenge in challenges(field):
        if (
            challenge.scheme == "bearer"
            and challenge.parameters.get("error") == "insufficient_scope"
        ):
            return tuple(challenge.parameters.get("scope", "").split())
    return ()
