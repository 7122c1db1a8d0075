"""What of JSON every binding can hold, and text that no UTF-8 holds."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.protocol.values import MAX_DEPTH, cut_half, mend, mend_all, unfit


def nested(levels: int, *, objects: bool = False, inside: Any = 1) -> Any:
    for _ in range(levels):
        inside = {"a": inside} if objects else [inside]
    return inside


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, "", 1.5e308, 10**308, -(10**308), [], {}, [[]], {"a": {}},
        nested(MAX_DEPTH), nested(MAX_DEPTH, objects=True), [1] * 10_000, "x" * 10_000,
        {"a": nested(MAX_DEPTH - 1), "b": [1, {"c": None}]},
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_fits_every_binding(value: Any) -> None:
    assert unfit(value) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (10**400, "double"),
        (-(10**400), "double"),
        (2**1024, "double"),
        ([1, [2, {"a": 10**400}]], "double"),
        (nested(MAX_DEPTH + 1), "30"),
        (nested(MAX_DEPTH + 1, objects=True), "30"),
        (nested(MAX_DEPTH, inside={"a": {}}), "30"),
        (nested(50_000), "30"),
    ],
    ids=lambda value: repr(value)[:20] if isinstance(value, str) else "",
)
def test_fits_not_every_binding(value: Any, why: str) -> None:
    assert why in (unfit(value) or "")


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("", ""),
        ("plain", "plain"),
        ("grüße 😀", "grüße 😀"),
        ("a\ud83d\ude00b", "a😀b"),
        ("\ud83d", "\ufffd"),
        ("\ude00x", "\ufffdx"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("caf\udce9.txt", "caf\ufffd.txt"),
    ],
)
def test_halves_are_joined_or_replaced(text: str, mended: str) -> None:
    assert mend(text) == mended
    assert mend_all({text: [text, {"a": text}, 1]}) == {mended: [mended, {"a": mended}, 1]}


def test_a_half_at_the_end_is_cut_off() -> None:
    assert cut_half("a\ud83d") == ("a", "\ud83d")
    assert cut_half("\ude00") == ("\ude00", "")
    assert cut_half("") == ("", "")
