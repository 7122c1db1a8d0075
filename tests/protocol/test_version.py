"""Which version a request gets (section 3.6)."""

from __future__ import annotations

import pytest

from greenroom.protocol.errors import VersionNotSupportedError
from greenroom.protocol.version import SUPPORTED, negotiate


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        (None, "0.3"),
        ("", "0.3"),
        ("  ", "0.3"),
        ("0.2", "0.3"),
        ("0.2.6", "0.3"),
        ("0.3", "0.3"),
        ("0.3.0", "0.3"),
        ("1.0", "1.0"),
        (" 1.0 ", "1.0"),
        ("1.0.1", "1.0"),
        ("1.1", "1.1"),
        ("1.1.7", "1.1"),
    ],
)
def test_patch_numbers_and_absence_do_not_matter(asked: str | None, got: str) -> None:
    assert negotiate(asked) == got


@pytest.mark.parametrize(
    "asked",
    ["99.0", "0.5", "1", "2.0", "1.2", "v1.0", "1.0.x", "1.0.0.0", "one", "01.0", "1.0,0.3"],
)
def test_any_other_version_is_refused_and_told_what_to_send(asked: str) -> None:
    with pytest.raises(VersionNotSupportedError) as caught:
        negotiate(asked)
    for version in SUPPORTED:
        assert version in caught.value.message


def test_a_refusal_repeats_only_the_start_of_a_long_value() -> None:
    with pytest.raises(VersionNotSupportedError) as caught:
        negotiate("9" * 10_000)
    assert len(caught.value.message) < 200
