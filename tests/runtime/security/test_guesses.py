"""Who guesses credentials, with a good one beside them or without, and who does not."""

from __future__ import annotations

import logging
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anyio
import pytest

from greenroom import Agent
from greenroom.auth import (
    ApiKeys,
    AuditEntry,
    Basic,
    Call,
    Claims,
    InvalidCredential,
    Limits,
    Security,
    enterprise_tokens,
    hash_password,
    identify,
    new_key,
    static_tokens,
)
from greenroom.protocol.errors import ResourceExhaustedError, UnauthenticatedError, UnavailableError
from greenroom.runtime.security.gate import Gate
from greenroom.runtime.security.schemes.fair_queue import FairQueue
from greenroom.testing import LoopClock
from tests.support.clock import virtual_backend

__all__ = ["virtual_backend"]

pytestmark = pytest.mark.anyio
KEY, TEXT = new_key("mallory", now=time.time())
TOKEN = "a static token of some length"


class Written(list[AuditEntry]):
    def record(self, entry: AuditEntry) -> None:
        self.append(entry)


def gated(*schemes: object, **more: object) -> tuple[Gate, Written]:
    agent, audit = Agent("A"), Written()
    agent.handler(lambda ctx: "x")
    security = Security(*schemes, audit=audit)  # type: ignore[arg-type]
    limits = Limits(**{"failures": 2, "max_penalty": 0.0, **more})  # type: ignore[arg-type]
    return Gate(security, limits, LoopClock(1000.0), {agent.slug: agent}), audit


def basic(password: str) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(f'ada:{password}'.encode()).decode()}"}


def call(**headers: str) -> Call:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Call(binding="TEST", peer="192.0.2.1", headers=named)


async def test_guesses_beside_a_good_credential_count(caplog: pytest.LogCaptureFixture) -> None:
    gate, audit = gated(Basic({"ada": hash_password("tiger")}), ApiKeys([KEY]))
    with caplog.at_level(logging.WARNING, "greenroom.security"):
        for password in ("lion", "puma", "lynx", "lynx"):
            asked = call(**basic(password), x_api_key=TEXT)
            assert (await gate.admit(asked)).subject == "mallory"
    assert gate.unauthenticated == gate._guesses.failed("192.0.2.1") - 1 == 3
    assert caplog.text.count("user and password do not match") == 2  # the first few
    assert (audit[0].outcome, audit[0].owner) == ("UNAUTHENTICATED", "apiKey#mallory")


async def test_what_another_scheme_takes_is_no_guess() -> None:
    gate, audit = gated(
        static_tokens(TOKEN), static_tokens("another token of some length", name="other")
    )
    await gate.admit(call(authorization="Bearer another token of some length"))
    assert not audit
    assert not gate.unauthenticated


async def test_who_held_lately_waits_for_no_guesser_of_their_network() -> None:
    """Their credential must be looked at anew; the line is full of guesses, and nobody joins it."""

    class Platform:
        async def verify(self, token: str, now: float) -> Mapping[str, Any]:
            if token not in good:
                raise InvalidCredential("it is not active")
            return {"sub": token}

    good = {"ada"}
    gate, _ = gated(
        enterprise_tokens(Platform(), keep=0.0), max_waiting=0, failures=1, max_penalty=2.0
    )
    hers, stale = call(authorization="Bearer ada"), call(authorization="Bearer guess")
    assert (await gate.admit(hers)).subject == "ada"
    gate._guesses.failed(hers.peer)
    with pytest.raises(ResourceExhaustedError):
        await gate.admit(stale)
    assert (await gate.admit(hers)).subject == "ada"
    good.clear()  # withdrawn: refused once, and from then on a guess like others
    with pytest.raises(UnauthenticatedError):
        await gate.admit(hers)
    with pytest.raises(ResourceExhaustedError):
        await gate.admit(hers)


def test_each_network_has_its_turn(virtual_backend: Any) -> None:
    """A crowd of one network is passed by who comes alone, and leaving costs nobody a place."""
    turns, served = FairQueue(1, most=4), list[str]()

    async def come(address: str) -> None:
        async with turns.of(address):
            served.append(address)
            await anyio.sleep(1)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(come, "192.0.2.1")
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0.5):
                await come("192.0.2.9")
            for last in ("2", "3"):
                group.start_soon(come, f"2001:db8:1:{last}::1")
                await anyio.wait_all_tasks_blocked()
            with pytest.raises(UnavailableError):
                await come("192.0.2.1")
        assert [one.partition(":1:")[2] or one[-1] for one in served] == [
            "1", "1", "2::1", "3::1", "1", "1",
        ]  # fmt: skip
        with anyio.fail_after(0.5):
            async with turns.of("192.0.2.1"):
                assert turns.waiting == 0

    name, options = virtual_backend
    anyio.run(main, backend=name, backend_options=dict(options))


async def test_a_first_password_waits_for_no_crowd_elsewhere() -> None:
    """Of twelve others who were there before, all of one network, most are still waiting."""
    scheme, done = Basic({"ada": hash_password("tiger")}), list[str]()

    async def ask(peer: str, password: str) -> None:
        with suppress(InvalidCredential):
            await scheme.verify(Call(binding="TEST", peer=peer, headers=basic(password)), 1.0)
        done.append(peer)

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(ask, "192.0.2.1", f"wrong-{number}")
        group.start_soon(ask, "192.0.2.2", "tiger")
    assert done.index("192.0.2.2") < 8


@pytest.mark.parametrize("less", [{"scope": "a"}, {"tid": "globex"}, {"sub": "bob"}])
async def test_credentials_that_are_not_what_they_were(less: dict[str, str]) -> None:
    told: dict[str, Any] = {"sub": "ada", "tid": "acme", "scope": "a b"}

    class Platform:
        async def verify(self, token: str, now: float) -> Mapping[str, Any]:
            return told

    gate, _ = gated(enterprise_tokens(Platform(), keep=0.0, claims=Claims(tenant="tid")))
    hers = call(authorization="Bearer ada")
    await gate.admit(hers)
    told = {**told, "scope": "a b c"}  # more is no reason
    await gate.reauthenticate(hers)
    told = {**told, **less}
    with pytest.raises(UnauthenticatedError, match="not what they were"):
        await gate.reauthenticate(hers)


def test_no_two_pairs_of_issuer_and_subject_are_one_owner() -> None:
    pairs = [("https://a", "b#c"), ("https://a#b", "c"), ("https://a%23b", "c")]
    owners = {identify(scheme="x", issuer=one, subject=two).owner for one, two in pairs}
    assert len(owners) == 3
