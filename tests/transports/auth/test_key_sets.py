"""Keys of an issuer that come and go, and those who would keep them from being fetched."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio
import anyio.lowlevel
import grpc
import grpc.aio
import pytest

from greenroom.auth import Call, InvalidCredential, Limits, Security, open_id_connect
from greenroom.protocol import operations as ops
from greenroom.protocol.errors import UnavailableError
from tests.runtime.security.serving import serving
from tests.support.clients import BINDINGS, send
from tests.support.issuer import Issuer
from tests.support.servers import OnSockets

pytestmark = pytest.mark.anyio


def call(token: str) -> Call:
    return Call(binding="JSONRPC", headers={"authorization": f"Bearer {token}"})


@pytest.mark.parametrize("kid", ["", "always the same"])
async def test_a_new_key_under_the_name_of_the_old_one(kid: str, issuer: Issuer) -> None:
    """What was signed with the old one ends with it; and forgers make nobody ask all the time."""
    scheme = open_id_connect(issuer.url, audience="agents", refetch_every=10)
    now = time.time()
    issuer.rotate(kid=kid)
    try:
        old = issuer.token()
        assert await scheme.verify(call(old), now)
        issuer.rotate(kid=kid)
        new, forged = issuer.token(), issuer.token(forge="key")
        before = issuer.counts["fetches"]
        with pytest.raises(InvalidCredential):  # too soon to ask again
            await scheme.verify(call(new), now + 5)
        assert scheme.known(call(old), now + 5)
        assert issuer.counts["fetches"] == before
        assert await scheme.verify(call(new), now + 11)
        assert scheme.known(call(old), now + 11) is None
        with pytest.raises(InvalidCredential):
            await scheme.verify(call(old), now + 11)
        for tenth in range(20):
            with pytest.raises(InvalidCredential):
                await scheme.verify(call(forged), now + 22 + tenth / 10)
        assert issuer.counts["fetches"] == before + 2
    finally:
        issuer.rotate()


@pytest.mark.parametrize("binding", BINDINGS)
async def test_tokens_of_a_withdrawn_key_end_without_any_new_token(
    binding: str, issuer: Issuer
) -> None:
    """Nobody comes with another: using one that is known has the keys looked at."""
    scheme = open_id_connect(issuer.url, audience="agents", max_age=3600, refetch_every=0)
    issuer.rotate()
    token = {"Authorization": f"Bearer {issuer.token()}"}

    async def ask() -> str:
        return (await server.call(binding, ops.SEND, send("x"), token)).outcome

    async with serving(Security(scheme)) as server:
        assert await ask() == "ok"
        issuer.rotate()
        assert await ask() == "ok"
        scheme.verifier._keys._fetched -= 3601  # type: ignore[attr-defined]  # an hour passed
        with anyio.fail_after(10):
            while await ask() == "ok":
                pass
        assert await ask() == "UNAUTHENTICATED"


async def test_nor_without_a_server(issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents", max_age=100)
    issuer.rotate()
    token, now = issuer.token(exp=time.time() + 9999), time.time()
    await scheme.verify(call(token), now)
    issuer.rotate()
    assert scheme.known(call(token), now + 99)
    assert scheme.known(call(token), now + 101) is None
    with pytest.raises(InvalidCredential):
        await scheme.verify(call(token), now + 101)


async def give_up(server: OnSockets, issuer: Issuer, token: str, before: int) -> None:
    """Call with a token, and leave while the issuer is asked for its keys."""
    address = f"127.0.0.1:{server.grpc_port}"
    async with grpc.aio.insecure_channel(address) as channel:
        ask = channel.unary_unary("/lf.a2a.v1.A2AService/ListTasks")
        asked = ask(b"", metadata=(("authorization", f"Bearer {token}"),))
        with anyio.fail_after(10):
            while issuer.counts["fetches"] == before:
                await anyio.lowlevel.checkpoint()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked


@pytest.mark.parametrize("cold", [True, False])
async def test_whoever_leaves_does_not_take_the_keys_along(cold: bool, issuer: Issuer) -> None:
    """A stranger with any token could else keep a server from new keys for as long as they like."""
    scheme = open_id_connect(issuer.url, audience="agents", refetch_every=3600)
    async with serving(Security(scheme), limits=Limits(failures=1000)) as server:
        if not cold:
            known = {"Authorization": f"Bearer {issuer.token()}"}
            assert (await server.call("rest", ops.SEND, send("x"), known)).outcome == "ok"
            scheme.verifier._keys._tried -= 3601  # type: ignore[attr-defined]  # an hour passed
            issuer.rotate()
        before = issuer.counts["fetches"]
        issuer.set(slow=True)
        try:
            await give_up(server, issuer, issuer.token(header={"kid": "nobody's"}), before)
        finally:
            issuer.set(slow=False)
        fresh = {"Authorization": f"Bearer {issuer.token()}"}
        answer = await server.call("grpc", ops.SEND, send("x"), fresh)
        assert answer.outcome == "ok", answer.text
        assert issuer.counts["fetches"] == before + 1


# --- what an issuer says of itself --------------------------------------------------------------

SAID = {
    "another issuer": {"issuer": "https://evil.example"},
    "an issuer with two slashes": {"issuer": "{url}//"},
    "no issuer": {"issuer": ""},
    # By other names the very server that has them, so that only the address speaks against it.
    "keys over plain http": {"jwks_uri": "http://127.1:{port}/jwks"},
    "keys from a host of its user": {"jwks_uri": "http://127.0.0.1@127.1:{port}/jwks"},
    "keys in a file": {"jwks_uri": "file:///etc/passwd"},
    "no keys": {"jwks_uri": ""},
}


@pytest.mark.parametrize("name", SAID)
async def test_a_discovery_document_that_is_not_believed(name: str, issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents")
    named = {"url": issuer.url, "port": issuer.url.rpartition(":")[2]}
    issuer.set(said={key: value.format(**named) for key, value in SAID[name].items()})
    try:
        with pytest.raises(UnavailableError):
            await scheme.verify(call(issuer.token()), time.time())
    finally:
        issuer.set(said={})


ODD: list[Any] = [
    7,
    {},
    {"kty": ["RSA"]},
    {"kty": "EC", "crv": "P-256", "x": 1, "y": 2},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    {"kty": "OKP", "crv": "Ed25519", "x": "é"},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "key_ops": None},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "key_ops": 7},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "key_ops": {"verify": 1}},
]


async def test_a_key_set_with_more_than_keys_in_it(issuer: Issuer) -> None:
    """What cannot be used is passed over, and the server goes on."""
    issuer.set(odd=ODD)
    try:
        security = Security(open_id_connect(issuer.url, audience="agents"))
        async with serving(security, with_grpc=False) as server:
            token = {"Authorization": f"Bearer {issuer.token()}"}
            for _ in range(2):
                assert (await server.call("rest", ops.SEND, send("x"), token)).outcome == "ok"
    finally:
        issuer.set(odd=[])


@pytest.mark.parametrize("url", ["http://login.example", "ftp://login.example", "login.example"])
async def test_addresses_that_keys_do_not_come_from(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        open_id_connect(url, audience="agents")
    with pytest.raises(ValueError, match="https"):
        open_id_connect("https://login.example", audience="agents", jwks_url=f"{url}/jwks")
