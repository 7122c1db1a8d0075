"""Which URLs get the headers of a user who typed ``https://agents.example/a2a``."""

from __future__ import annotations

import pytest

from greenroom.transports.client.credentials import Credentials
from greenroom.transports.client.http import HttpError

KEY = {"X-Key": "k"}


@pytest.mark.parametrize(
    ("url", "gets"),
    [
        ("https://agents.example/", True),
        ("https://AGENTS.example:443/other?q", True),
        ("https://me:pw@agents.example/", True),
        ("http://agents.example/", False),
        ("https://agents.example:8443/", False),
        ("https://agents.example./", False),
        ("https://api.agents.example/", False),
        ("https://agents.example.evil.example/", False),
        ("https://agents.example@evil.example/", False),
        ("https://evil.example/agents.example", False),
        ("https://also.example:444/x", True),
        ("https://also.example/x", False),
        ("https://xn--bcher-kva.example/", True),
    ],
)
def test_who_gets_the_headers(url: str, gets: bool) -> None:
    others = ("https://also.example:444/", "https://Bücher.example")
    credentials = Credentials("https://agents.example/a2a", KEY, others)
    assert credentials.headers_for(url) == (KEY if gets else {})
    assert credentials.withheld_from(url) is not gets
    assert not Credentials("https://agents.example/a2a").withheld_from(url)


def test_a_header_of_the_user_wins_over_the_users_name() -> None:
    typed = "https://me:pw@agents.example/"
    given = Credentials(typed, {"authorization": "Bearer t"}).headers_for(typed)
    assert given == {"authorization": "Bearer t"}
    assert Credentials(typed).headers_for(typed) == {"Authorization": "Basic bWU6cHc="}


@pytest.mark.parametrize("origin", ["", "agents.example", "ftp://agents.example", "http://[::1"])
def test_an_origin_that_is_none(origin: str) -> None:
    with pytest.raises(HttpError):
        Credentials("https://agents.example", KEY, [origin])
