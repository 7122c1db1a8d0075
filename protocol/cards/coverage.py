"""What of a card's JSON a signature covers, and whether all readers see the same card in it.

A signature covers the 1.0 card. The JSON around it may say more, to readers of 0.3 for one, and
say it otherwise to readers who take the first of two members, or the other spelling of a name.
"""

from __future__ import annotations

import json as plain_json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from .. import types as t
from ..codec import JSONRPC
from .legacy import to_legacy
from .signing import SignatureError

_ADDRESSES = ("url", "preferredTransport", "additionalInterfaces", "protocolVersion")
_ONLY_LEGACY = ("security", "supportsAuthenticatedExtendedCard")


def _alike(name: str) -> str:
    """What names have in common that some readers take for one: ``encoding/json`` of Go, for one,
    does not look at the case."""
    return name.replace("_", "").casefold()


_KNOWN = {
    _alike(name): name
    for name in (
        *_ADDRESSES,
        *_ONLY_LEGACY,
        *(field.encode_name for field in msgspec.structs.fields(t.AgentCard)),
    )
}
_SNAKE = re.compile(r"_([a-z0-9])")


def uncovered(body: bytes, card: t.AgentCard) -> list[str]:
    """Return the members of a card's JSON that its signatures say nothing of.

    ``card`` is what was parsed of ``body``. Raises SignatureError for JSON in which readers may see
    different cards: members given twice or in two spellings, and members of 0.3 (in a card of 0.3
    alone: of 1.0) that contradict the card.
    """
    try:
        raw = plain_json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise SignatureError(f"The card cannot be read: {error}") from None
    covered = msgspec.to_builtins(card)
    other = to_legacy(card, card.supported_interfaces, "0.3") if card.supported_interfaces else {}
    other.get("capabilities", {}).pop("stateTransitionHistory", None)  # nothing signed says it
    current = bool(raw.keys() & {"supportedInterfaces", "supported_interfaces"})
    if not current:  # of 0.3 alone
        covered, other = other, covered
    covered["signatures"] = raw.get("signatures")
    beyond = []
    for path, value in _beyond(raw, covered, ()):
        name, first = ".".join(map(str, path)), str(path[0])
        if value and (usual := _KNOWN.get(_alike(first), first)) != first:
            raise SignatureError(f"The card has {first}, which readers take for {usual}")
        known, expected = _at(other, path)
        if current and first in _ADDRESSES:
            known = False  # compared as a whole, below
        elif not known and first in _ONLY_LEGACY:
            known, expected = bool(value), None
        if known and value != expected:
            raise SignatureError(f"{name}, which is not signed, contradicts the signed card")
        if value:
            beyond.append(name)
    _check_addresses(raw, card)
    return beyond


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return members


def _beyond(
    raw: Any, covered: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield what ``raw`` has and ``covered`` has not."""
    if isinstance(raw, list) and isinstance(covered, list) and len(raw) == len(covered):
        for number, (one, other) in enumerate(zip(raw, covered, strict=True)):
            yield from _beyond(one, other, (*path, number))
    if not isinstance(raw, dict) or not isinstance(covered, dict):
        return
    likes: dict[str, list[str]] = {}
    for name in (*raw, *covered.keys() - raw.keys()):
        likes.setdefault(_alike(name), []).append(name)
    for name, value in raw.items():
        usual = _SNAKE.sub(lambda match: match[1].upper(), name)
        others = [one for one in likes[_alike(name)] if one != name]
        if name in covered:
            yield from _beyond(value, covered[name], (*path, name))
        elif others == [usual] and usual not in raw:
            yield from _beyond(value, covered[usual], (*path, name))
        elif others:
            where = ".".join(map(str, (*path, name)))
            raise SignatureError(f"The card has {where} beside {others[0]}: readers take either")
        else:
            yield (*path, name), value


def _at(other: Any, path: tuple[str | int, ...]) -> tuple[bool, Any]:
    """Whether there is something at ``path``, in whatever spelling, and what."""
    for step in path:
        if isinstance(other, dict):
            step = next((name for name in other if _alike(name) == _alike(str(step))), step)
        try:
            other = other[step]
        except (KeyError, IndexError, TypeError):
            return False, None
    return True, other


def _check_addresses(raw: dict[str, Any], card: t.AgentCard) -> None:
    """Raise SignatureError where clients of 0.3 would be led elsewhere than those of 1.0 are."""
    if not raw.get("url") and not raw.get("additionalInterfaces"):
        return
    # A list: what a card says here may be anything, and need not hash.
    signed = [(one.url, one.protocol_binding) for one in card.supported_interfaces]
    others = raw.get("additionalInterfaces") or []
    if not isinstance(others, list) or not all(isinstance(one, dict) for one in others):
        raise SignatureError("The members of 0.3 cannot be read: additionalInterfaces is no list")
    named = [(raw.get("url", ""), raw.get("preferredTransport") or JSONRPC)]
    for entry in others:
        if len({_alike(name) for name in entry}) < len(entry):
            raise SignatureError("An address for clients of 0.3 has a member beside another one")
        named.append((entry.get("url"), entry.get("transport")))
    for address in named:
        if address not in signed:
            raise SignatureError(
                f"{address[0]!r}, where clients of 0.3 are led, contradicts the signed card"
            )
