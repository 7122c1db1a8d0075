"""What does it cost to know the caller, and what does a good client feel of a flood of bad ones?

Blocking sends of a task over JSON-RPC, 16 connections, each row in turn in each round: anonymous,
a signed token (RS256) seen before, one never seen, an API key. Then one client alone, and the same
client while 32 connections from another address flood the server: with credentials that it refuses;
with streams, kept and dropped, of nobody and of a caller whom it knows (who is held to the rate of
the defaults); with bodies and headers that never end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from pathlib import Path

from . import wire
from .load import Connection
from .race import Figures, Options, Table, loaded, per_request
from .server import Contender, Server

TOKENS = 2000
PAUSE = 0.05
"""Seconds between two connections of who drops them; 32 do, so about 600 a second."""


def credentials(where: Path) -> tuple[list[str], str, str]:
    """Write the server's side of the credentials; return tokens, one of another, an API key."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric import rsa

    from greenroom.runtime.security.schemes.api_keys import new_key

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = jwt.get_algorithm_by_name("RS256").to_jwk(private.public_key(), as_dict=True)
    key, text = new_key("ada", now=0)
    where.write_text(json.dumps({"jwks": {"keys": [{**jwk, "kid": "1"}]}, "digest": key.digest}))

    def token(sub: str, number: int) -> str:
        claims = {
            "iss": "https://bench", "aud": "bench", "sub": sub, "scope": "a b c",
            "exp": int(time.time()) + 36_000, "jti": str(number),
        }  # fmt: skip
        return jwt.encode(claims, private, algorithm="RS256", headers={"kid": "1"})

    return [token("ada", number) for number in range(TOKENS)], token("mallory", 0), text


def with_header(make: Callable[[], bytes], header: Callable[[], str]) -> Callable[[], bytes]:
    """Add a header field to each request."""

    def made() -> bytes:
        head, _, body = make().partition(b"\r\n\r\n")
        return head + b"\r\n" + header().encode() + b"\r\n\r\n" + body

    return made


async def measure(options: Options) -> list[Table]:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as running:
        where = Path(scratch) / "auth.json"
        tokens, other, key = credentials(where)
        os.environ["BENCH_AUTH"] = str(where)
        # One server for each row: what a server has kept already costs it garbage collection.
        peers = ("greenroom", "secured", "secured", "secured")
        servers = []
        for index, peer in enumerate(peers):
            # The last one forgets at once, so that every token is new to it.
            os.environ["BENCH_AUTH_CACHE"] = "1" if index == 3 else "10000"
            servers.append(running.enter_context(Server(Contender(peer))))
        costs = await _costs(options, servers, tokens, key)
        os.environ["BENCH_AUTH_CACHE"], os.environ["BENCH_AUTH_LIMITED"] = "10000", "1"
        flooded = running.enter_context(Server(Contender("secured")))
        del os.environ["BENCH_AUTH_LIMITED"]
        floods = await _floods(options, flooded, tokens[0], other)
    return [costs, floods]


async def _costs(options: Options, servers: list[Server], tokens: list[str], key: str) -> Table:
    anonymous, known, keyed, unknown = servers
    fresh = itertools.cycle(tokens)
    seen = f"authorization: Bearer {tokens[-1]}"
    rows: dict[str, tuple[Server, Callable[[], bytes]]] = {
        "anonymous": (anonymous, wire.send()),
        "token seen before": (known, with_header(wire.send(), lambda: seen)),
        "API key": (keyed, with_header(wire.send(), lambda: f"x-api-key: {key}")),
        "token never seen": (
            unknown, with_header(wire.send(), lambda: f"authorization: Bearer {next(fresh)}"),
        ),
    }  # fmt: skip
    measured: dict[str, list[Figures]] = {}
    for round_ in range(-1, options.rounds):
        for name, (server, request) in rows.items():
            sample, cpu = await loaded(
                server, request, expect=wire.COMPLETED, seconds=options.seconds
            )
            if round_ >= 0:
                measured.setdefault(name, []).append(per_request(sample, cpu))
    table = {
        name: {key: statistics.median(one[key] for one in many) for key in many[0]}
        for name, many in measured.items()
    }
    # Round by round: what else the machine does changes between rounds more than within one.
    base = [one["cpu µs"] for one in measured["anonymous"]]
    for name, figures in table.items():
        ratios = [one["cpu µs"] / own for one, own in zip(measured[name], base, strict=True)]
        figures["added %"] = (statistics.median(ratios) - 1) * 100
    return Table("blocking send of a task, by credential", table, ())


Hostile = Callable[[int], Awaitable[object]]
"""What one hostile connection does over and over; the port in."""


async def _connect(port: int) -> Connection:
    """From another address than the good client's."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        Connection, "127.0.0.1", port, local_addr=("127.0.0.2", 0)
    )
    return connection


def asking(request: Callable[[], bytes]) -> Hostile:
    """Ask on one connection for as long as the server keeps it."""

    async def ask(port: int) -> None:
        with closing(await _connect(port)) as connection:
            while True:
                await connection.ask(request())

    return ask


def dropping(request: Callable[[], bytes], until: bytes = b"") -> Hostile:
    """Ask, and be gone, at once or when this was answered; then come again. Not at full speed: how
    many connections a second a process can take is not a question of who calls."""

    async def drop(port: int) -> None:
        with closing(await _connect(port)) as connection:
            if until:
                await connection.ask(request(), until=until)
            else:
                connection.write(request())
        await asyncio.sleep(PAUSE)

    return drop


def trickling(request: Callable[[], bytes], at_once: int) -> Hostile:
    """Begin a request, and go on with it byte by byte, not to its end."""

    async def trickle(port: int) -> None:
        with closing(await _connect(port)) as connection:
            whole = request()
            connection.write(whole[:at_once])
            for at in range(at_once, at_once + 100):
                await asyncio.sleep(0.01)
                connection.write(whole[at : at + 1])

    return trickle


def floods(other: str) -> dict[str, Hostile]:
    numbers = itertools.count()
    mine = f"authorization: Bearer {other}"
    large, stream = wire.send("x" * 200_000), wire.send(stream=True)

    def guess(field: str) -> Callable[[], bytes]:
        return with_header(wire.send(), lambda: f"{field}guess-{next(numbers)}")

    known = with_header(large, lambda: mine)
    return {
        "bad tokens": asking(guess("authorization: Bearer ")),
        "bad API keys": asking(guess("x-api-key: ")),
        "large bodies, nobody's": asking(large),
        "streams, nobody's": asking(stream),
        "streams, nobody's, dropped": dropping(stream),
        "streams of a caller": asking(with_header(stream, lambda: mine)),
        "streams of a caller, dropped": dropping(with_header(stream, lambda: mine), until=b"data:"),
        "half bodies, nobody's": trickling(large, 2000),
        "half bodies of a caller": trickling(known, 2000),
        "half headers": trickling(known, 20),
    }


async def _floods(options: Options, server: Server, token: str, other: str) -> Table:
    """Latency of one client that asks a hundred times a second, alone and beside each flood."""
    good = with_header(wire.send(), lambda: f"authorization: Bearer {token}")
    rows: dict[str, dict[str, float]] = {}
    connection = await Connection.open(server.port)

    async def latencies(count: int) -> list[float]:
        took = []
        for _ in range(count):
            start = time.perf_counter()
            answer = await connection.ask(good())
            took.append(time.perf_counter() - start)
            assert answer.status == 200, answer.body[:300]
            await asyncio.sleep(0.01)
        return took

    async def hammer(hostile: Hostile) -> None:
        while True:
            try:
                await hostile(server.port)
            except (OSError, ValueError):  # it was closed, or answered with something short
                await asyncio.sleep(0.01)

    count = max(50, int(options.seconds * 60))
    cpu, began = server.cpu(), time.perf_counter()
    alone = await latencies(count)
    spent = (server.cpu() - cpu) / (time.perf_counter() - began) * 100
    for name, hostile in floods(other).items():
        quiet = await latencies(count)
        alone += quiet
        tasks = [asyncio.create_task(hammer(hostile)) for _ in range(32)]
        await asyncio.sleep(3)  # the first refusals are free, and a rate allows a burst
        cpu, began = server.cpu(), time.perf_counter()
        loud = await latencies(count)
        busy = (server.cpu() - cpu) / (time.perf_counter() - began) * 100
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        rows[name] = {**_row(loud, quiet), "busy %": busy}
    connection.close()
    return Table(
        "latency of a good client beside a flood",
        {"alone": {**_row(alone, alone), "busy %": spent}, **rows},
        (),
    )


def _row(took: list[float], quiet: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {
        "p50 ms": statistics.median(took) * 1e3,
        "p99 ms": ordered[int(len(ordered) * 0.99)] * 1e3,
        "p50 ratio": statistics.median(took) / statistics.median(quiet),
    }
