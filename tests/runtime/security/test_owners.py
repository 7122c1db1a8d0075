"""Callers of different schemes are different owners, whatever their names are."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Mapping
from typing import Any

import pytest

from greenroom import TaskRejected
from greenroom.auth import (
    ApiKeys,
    Basic,
    Call,
    InvalidCredential,
    Principal,
    Security,
    UnavailableError,
    enterprise_tokens,
    hash_password,
    identify,
    new_key,
    static_tokens,
)
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.runtime.call import ANONYMOUS
from greenroom.runtime.security.schemes.mutual_tls import forwarded_names
from tests.support.clients import BINDINGS, send

from .serving import serving

pytestmark = pytest.mark.anyio


TOKEN = "a static token of some length"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Says:
    """A platform that vouches for every token, with the claims that it is given."""

    def __init__(self, **claims: Any) -> None:
        self.claims = claims

    async def verify(self, token: str, now: float) -> Mapping[str, Any]:
        return self.claims


NAMES = ["apiKey", ":apiKey", "::apiKey", "https://a", "https%3A//a", "enterprise!https://a", "a!b",
         "a#b", "", "#", ":", "!", "b/c", "anonymous"]  # fmt: skip


def test_no_two_schemes_or_issuers_give_one_owner() -> None:
    owners: dict[str, object] = {ANONYMOUS.owner: None}
    for scheme, issuer, claimed in itertools.product(NAMES, NAMES, (False, True)):
        # A configured issuer is the same for all schemes: the operator said so.
        who = (
            (scheme, issuer, True)
            if claimed
            else scheme
            if scheme == issuer
            else ("issuer", issuer)
        )
        for subject in ("ada", "b#ada", "a#b"):
            found = identify(scheme=scheme, issuer=issuer, subject=subject, claimed=claimed)
            assert owners.setdefault(found.owner, (who, subject)) == (who, subject)


@pytest.mark.parametrize("issuer", ["apiKey", "basic", "token", "enterprise", "https://known"])
async def test_no_platform_speaks_for_the_callers_of_another_scheme(issuer: str) -> None:
    key, text = new_key("ada", now=time.time())
    security = Security(
        ApiKeys([key]),
        Basic({"ada": hash_password("tiger")}),
        static_tokens({"ada": TOKEN}),
        enterprise_tokens(Says(sub="ada"), name="pinned", issuer="https://known"),
        enterprise_tokens(Says(sub="ada", iss=issuer)),
        require=[{"apiKey": []}, {"basic": []}, {"token": []}, {"pinned": []}, {"enterprise": []}],
    )
    shown = ["Basic YWRhOnRpZ2Vy", f"Bearer {TOKEN}", "Bearer x", "Bearer x"]
    owners = set()
    for scheme, headers in zip(
        security.schemes,
        [{"x-api-key": text}, *({"authorization": one} for one in shown)],
        strict=True,
    ):
        found = await scheme.verify(Call(binding="TEST", headers=headers), 0.0)
        assert found is not None
        owners.add(found.owner)
    assert len(owners) == 5


@pytest.mark.parametrize("binding", BINDINGS)
async def test_the_task_of_a_key_is_not_that_of_a_token_with_its_names(binding: str) -> None:
    key, text = new_key("ada", now=time.time())
    security = Security(ApiKeys([key]), enterprise_tokens(Says(sub="ada", iss="apiKey")))
    async with serving(security) as server:
        made = await server.call(binding, ops.SEND, send("x"), {"X-API-Key": text})
        assert made.outcome == "ok"
        asked = t.ListTasksRequest()
        key_owner, token_owner = [
            repr((await server.call(binding, ops.LIST_TASKS, asked, who)).body)
            for who in ({"X-API-Key": text}, bearer("any"))
        ]
        assert "contextId" in key_owner or "context_id" in key_owner
        assert "contextId" not in token_owner
        assert "context_id" not in token_owner


# --- what a verifier raises ---------------------------------------------------------------------


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def verify(self, token: str, now: float) -> Mapping[str, Any]:
        raise self.error


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize(
    "error",
    [
        TaskRejected("hunter2"),
        ValueError("hunter2"),
        KeyError("hunter2"),
        ExceptionGroup("hunter2", [TaskRejected("hunter2"), ValueError("hunter2")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_verifier_that_raises_the_wrong_error_refuses_its_caller(
    binding: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "greenroom"):
        async with serving(Security(enterprise_tokens(Raises(error)))) as server:
            answer = await server.call(binding, ops.SEND, send("x"), bearer("secret-token"))
    assert answer.outcome == "UNAUTHENTICATED"
    assert "hunter2" not in answer.text
    assert f"raised {type(error).__name__}" in caplog.text
    assert "raise greenroom.auth.InvalidCredential" in caplog.text
    assert "hunter2" not in caplog.text
    assert "secret-token" not in caplog.text


@pytest.mark.parametrize("claims", [None, [], "x", {"sub": 1}, {1: 2}, {"sub": "ada", "exp": "x"}])
async def test_a_verifier_that_returns_no_claims_refuses_its_caller(claims: Any) -> None:
    scheme = Says()
    scheme.claims = claims
    async with serving(Security(enterprise_tokens(scheme)), with_grpc=False) as server:
        answer = await server.call("rest", ops.SEND, send("x"), bearer("any"))
        assert (answer.status, answer.outcome) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("error", "status"), [(InvalidCredential("no"), 401), (UnavailableError("later"), 503)]
)
@pytest.mark.parametrize("grouped", [False, True])
async def test_a_verifier_that_raises_the_right_error(
    error: Exception, status: int, grouped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    raised = ExceptionGroup("of a task group", [error]) if grouped else error
    async with serving(Security(enterprise_tokens(Raises(raised))), with_grpc=False) as server:
        answer = await server.call("rest", ops.SEND, send("x"), bearer("any"))
    assert answer.status == status
    assert "InvalidCredential for a credential" not in caplog.text


class OwnAuthenticator:
    """One in the place of schemes."""

    schemes: Mapping[str, t.SecurityScheme] = {
        "own": t.SecurityScheme(http_auth_security_scheme=t.HTTPAuthSecurityScheme(scheme="bearer"))
    }
    requirements = (t.SecurityRequirement(schemes={"own": t.StringList(list=[])}),)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def known(self, call: Call, now: float) -> Principal | None:
        return None

    def held(self, call: Call, now: float) -> bool:
        return False

    async def authenticate(self, call: Call, now: float) -> Principal:
        raise self.error


@pytest.mark.parametrize("error", [InvalidCredential("it is no good"), TaskRejected("hunter2")])
async def test_an_authenticator_that_raises_the_wrong_error(error: Exception) -> None:
    security = Security(authenticator=OwnAuthenticator(error))
    async with serving(security, with_grpc=False) as server:
        answer = await server.call("rest", ops.SEND, send("x"), bearer("any"))
    assert answer.status == 401
    assert "hunter2" not in answer.text


# --- more than one key, and pages of others -----------------------------------------------------


@pytest.mark.parametrize("binding", ["jsonrpc", "rest"])
async def test_a_key_that_comes_twice_is_refused(binding: str) -> None:
    key, text = new_key("ada", now=time.time())
    query = Security(ApiKeys([key], field="key", location="query"))
    async with serving(query, with_grpc=False) as server:
        for twice in (f"?key={text}&key={text}", f"?key=x&key={text}", f"?key={text}&key=x"):
            answer = await server.call(binding, ops.SEND, send("x"), query=twice)
            assert (answer.status, answer.outcome) == (401, "UNAUTHENTICATED")
        once = await server.call(binding, ops.SEND, send("x"), query=f"?key={text}&a=1&a=2")
        assert once.outcome == "ok"
    async with serving(Security(ApiKeys([key], field="k", location="cookie"))) as server:
        for cookies, status in (
            (f"k=x; k={text}", 401), (f"k={text}; k=x", 401), (f"k={text}; k={text}", 200),
        ):  # fmt: skip
            answer = await server.call(binding, ops.SEND, send("x"), {"Cookie": cookies})
            assert answer.status == status


@pytest.mark.parametrize("site", ["Cross-Site", "CROSS-SITE", "none, cross-site"])
async def test_a_cookie_from_the_page_of_another_site_does_not_count(site: str) -> None:
    key, text = new_key("ada", now=time.time())
    cookies = Security(ApiKeys([key], field="k", location="cookie"))
    async with serving(cookies, with_grpc=False) as server:
        sent = {"Cookie": f"k={text}", "Sec-Fetch-Site": site}
        assert (await server.call("rest", ops.SEND, send("x"), sent)).status == 401


# --- certificates that a proxy tells of -----------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        " " * 1_000_000,
        "Hash=" + " " * 1_000_000 + '"',
        'Hash="' + "\\" * 1_000_001,
        'Subject="' + 'a\\"' * 500_000,
        "Hash=a;" * 200_000 + "!",
        "By=" * 300_000 + '"',
        "Hash=a,Hash=" * 100_000 + '"',
        'Subject="' + "CN=a\\\\" * 100_000,
    ],
    ids=range(9),
)
def test_what_cannot_be_read_is_refused_at_once(text: str) -> None:
    """A time that grows with the square of the length would be minutes."""
    with pytest.raises(InvalidCredential):
        forwarded_names(text)


@pytest.mark.parametrize(
    ("text", "fingerprint", "uris"),
    [
        ("Hash=aB;URI=spiffe://x", "ab", ("spiffe://x",)),
        ('Hash="ab" ; URI=spiffe://x;URI=spiffe://y', "ab", ("spiffe://x", "spiffe://y")),
        ('Hash=evil,Hash="a\\"b,;="', 'a"b,;=', ()),
        ("Hash=evil, Hash=ab;", "ab", ()),
        ("Hash=evil,", "", ()),
        ("By=a=b;Hash=", "", ()),
    ],
)
def test_the_last_element_counts(text: str, fingerprint: str, uris: tuple[str, ...]) -> None:
    found = forwarded_names(text)
    assert (found.fingerprint, found.uris) == (fingerprint, uris)
