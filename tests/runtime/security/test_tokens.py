"""Signed tokens: what is refused, and how keys come and go."""

from __future__ import annotations

import time
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from greenroom.auth import Bearer, Call, InvalidCredential, Security, open_id_connect
from greenroom.protocol import operations as ops
from greenroom.protocol.errors import UnavailableError
from tests.runtime.security.serving import serving
from tests.support.clients import BINDINGS, said, send
from tests.support.issuer import Issuer

pytestmark = pytest.mark.anyio


def call(token: str) -> Call:
    return Call(binding="JSONRPC", headers={"authorization": f"Bearer {token}"})


FORGED: dict[str, dict[str, Any]] = {
    "expired": {"exp": time.time() - 3600},
    "not yet": {"nbf": time.time() + 3600},
    "from the future": {"iat": time.time() + 3600},
    "without exp": {"exp": None},
    "exp is no number": {"exp": "9999999999"},
    "exp is true": {"exp": True},
    "wrong aud": {"aud": "others"},
    "no aud": {"aud": None},
    "aud in a list of others": {"aud": ["others", 7]},
    "aud in an empty list": {"aud": []},
    "aud in a list in a list": {"aud": [["agents"]]},
    "aud as a name": {"aud": {"agents": 1}},
    "aud is a number": {"aud": 7},
    "nbf is true": {"nbf": True},
    "wrong iss": {"iss": "https://evil.example"},
    "no sub": {"sub": None},
    "alg none": {"forge": "none"},
    "HS256 with the public key": {"forge": "confusion"},
    "another key": {"forge": "key"},
    "wrong kid": {"header": {"kid": "nobody's"}},
    "kid that is a path": {"header": {"kid": "../../dev/null"}},
    "crit": {"header": {"crit": ["exp"], "exp": 1}},
    "control characters": {"sub": "ada\nadmin"},
}


@pytest.mark.parametrize("name", FORGED)
async def test_forged(name: str, issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents")
    token = issuer.token(**FORGED[name])
    with pytest.raises(InvalidCredential):
        await scheme.verify(call(token), time.time())
    assert scheme.known(call(token), time.time()) is None


@pytest.mark.parametrize("forge", [None, "none", "confusion", "key"])
async def test_what_is_of_another_issuer_is_not_looked_at(
    forge: str | None, issuer: Issuer
) -> None:
    scheme = open_id_connect(issuer.url, audience="agents")
    before = issuer.counts["fetches"]
    with pytest.raises(InvalidCredential, match="another issuer"):
        await scheme.verify(call(issuer.token(iss="https://x", forge=forge)), time.time())
    assert issuer.counts["fetches"] == before


@pytest.mark.parametrize(
    "token", ["", "x", "a.b", "a.b.c", "e30.e30.e30", "é.é.é", "a" * 20_000, "one, two"]
)
async def test_garbage(token: str, issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents")
    with pytest.raises(InvalidCredential):
        await scheme.verify(call(token), time.time())


async def test_a_key_of_the_forger_is_not_looked_at(issuer: Issuer) -> None:
    """``jku``, ``x5u`` and ``jwk`` in a header lead nowhere."""
    scheme = open_id_connect(issuer.url, audience="agents")
    evil = {"kid": "evil", "jku": f"{issuer.url}/jwks", "x5u": f"{issuer.url}/x", "jwk": {}}
    with pytest.raises(InvalidCredential):
        await scheme.verify(call(issuer.token(header=evil, forge="key")), time.time())


async def test_symmetric_algorithms_cannot_be_configured(issuer: Issuer) -> None:
    for algorithm in ("HS256", "none", "RS1"):
        with pytest.raises(ValueError, match="cannot be used"):
            open_id_connect(issuer.url, audience="agents", algorithms=[algorithm])


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_rotation(algorithm: str, issuer: Issuer) -> None:
    """A new key is found at once; a token of a key that is gone is no good any more."""
    scheme = open_id_connect(issuer.url, audience="agents", refetch_every=10)
    now = time.time()
    issuer.rotate()
    old = issuer.token()
    assert await scheme.verify(call(old), now)
    assert scheme.known(call(old), now)
    issuer.rotate(algorithm)
    new = issuer.token()
    now += 11
    assert await scheme.verify(call(new), now)
    assert scheme.known(call(old), now) is None
    with pytest.raises(InvalidCredential):
        await scheme.verify(call(old), now)
    issuer.rotate()


async def test_unknown_kids_do_not_make_us_fetch_for_ever(issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents", refetch_every=10)
    now = time.time()
    assert await scheme.verify(call(issuer.token()), now)
    before = issuer.counts["fetches"]
    for number in range(20):
        token = issuer.token(header={"kid": str(number)})
        with pytest.raises(InvalidCredential):
            await scheme.verify(call(token), now + 11 + number / 10)
    assert issuer.counts["fetches"] == before + 1


async def test_an_issuer_that_is_down(issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents", max_age=100)
    fresh = open_id_connect(issuer.url, audience="agents")
    now = time.time()
    first, second, third = (issuer.token(sub=name, exp=now + 200_000) for name in "abc")
    renamed = issuer.token(header={"kid": "new"}, exp=now + 200_000)
    assert await scheme.verify(call(first), now)
    issuer.set(down=True)
    try:
        assert await scheme.verify(call(second), now + 1000)  # with the keys it had
        with pytest.raises(UnavailableError):
            await scheme.verify(call(third), now + 100_000)
        with pytest.raises(UnavailableError):
            await fresh.verify(call(first), now)
        for later in (1001, 1020):  # its key may be one that nobody could tell of yet
            with pytest.raises(UnavailableError):
                await scheme.verify(call(renamed), now + later)
    finally:
        issuer.set(down=False)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_slow_issuer_holds_nobody_up_whose_key_is_there(
    binding: str, issuer: Issuer
) -> None:
    """Old keys are good while new ones are fetched, which happens beside the requests."""
    scheme = open_id_connect(issuer.url, audience="agents", max_age=0, refetch_every=0)

    async def ask(token: str) -> str:
        headers = {"Authorization": f"Bearer {token}"}
        return (await server.call(binding, ops.SEND, send("x"), headers)).outcome

    async with serving(Security(scheme)) as server:
        assert await ask(issuer.token(sub="first")) == "ok"
        before = issuer.counts["fetches"]
        issuer.set(slow=True)
        try:
            old = [issuer.token(sub=f"ada {number}") for number in range(3)]
            with anyio.fail_after(10):
                for token in old:  # none of them seen before
                    assert await ask(token) == "ok"
                while issuer.counts["fetches"] == before:
                    await anyio.lowlevel.checkpoint()
                for number in range(3):
                    assert await ask(issuer.token(sub=f"eve {number}")) == "ok"
            assert issuer.counts["fetches"] == before + 1  # and not one for each
            issuer.rotate()
            new = issuer.token()
        finally:
            issuer.set(slow=False)
        assert await ask(new) == "ok"
        assert await ask(old[0]) == "UNAUTHENTICATED"


async def test_a_slow_issuer_does_not_hold_up_the_end(issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents", max_age=0, refetch_every=0)
    try:
        with anyio.fail_after(10):
            async with serving(Security(scheme), with_grpc=False) as server:
                for name in ("first", "second"):
                    headers = {"Authorization": f"Bearer {issuer.token(sub=name)}"}
                    answer = await server.call("rest", ops.SEND, send("x"), headers)
                    assert answer.outcome == "ok"
                    issuer.set(slow=True)
    finally:
        issuer.set(slow=False)


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("told", [True, False])
async def test_issuers_with_and_without_a_slash(
    issuer: Issuer, configured: bool, told: bool
) -> None:
    issuer.set(slash=told)
    try:
        url = issuer.url + ("/" if configured else "")
        scheme = open_id_connect(url, audience="agents")
        found = await scheme.verify(call(issuer.token()), time.time())
        assert found is not None
        assert found.owner == f"{issuer.url}#ada"  # the same owner, whichever it is
    finally:
        issuer.set(slash=False)


async def test_verified_once_known_until_it_ends(issuer: Issuer) -> None:
    scheme: Bearer = open_id_connect(issuer.url, audience="agents", leeway=5)
    now = time.time()
    token = issuer.token(exp=now + 60)
    await scheme.verify(call(token), now)
    assert scheme.known(call(token), now + 64)
    assert scheme.known(call(token), now + 66) is None


@pytest.mark.parametrize("binding", BINDINGS)
async def test_scopes_of_skills_and_operations(binding: str, issuer: Issuer) -> None:
    from greenroom.auth import Policy

    security = Security(
        open_id_connect(issuer.url, audience="agents"),
        policy=Policy(agents={"desk": ["desk"]}, operations={"ListTasks": ["desk:list"]}),
    )
    from greenroom.protocol.types import ListTasksRequest

    def bearer(scope: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {issuer.token(scope=scope)}"}

    async with serving(security) as server:
        for asked, operation, scope, missing in (
            (send("hello"), ops.SEND, "", "desk"),
            (send("hello", skill="admin"), ops.SEND, "desk", "desk:admin"),
            (send("hello", skill="admin"), ops.STREAM, "desk", "desk:admin"),
            (ListTasksRequest(), ops.LIST_TASKS, "desk desk:admin", "desk:list"),
        ):
            answer = await server.call(binding, operation, asked, bearer(scope))
            assert answer.outcome == "PERMISSION_DENIED"
            assert missing in answer.text
            if binding != "grpc":
                assert answer.status == 403
                assert f'scope="{missing}"' in answer.headers["www-authenticate"]
            allowed = await server.call(binding, operation, asked, bearer(f"{scope} {missing}"))
            assert allowed.outcome == "ok"
        done = await server.call(
            binding, ops.SEND, send("x", skill="admin"), bearer("desk desk:admin")
        )
        assert said(done).endswith("done as admin")
