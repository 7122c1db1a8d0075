"""What does it cost to know the caller, and what does a good client feel of a flood of bad ones?

Blocking sends of a task over JSON-RPC, 16 connections, each row in turn in each round: anonymous,
a signed token (RS256) seen before, one never seen, an API key. Then one client alone, and the same
client while 32 connections from another address flood the server with what it refuses.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from . import wire
from .load import Connection
from .race import Figures, Options, Table, loaded, per_request
from .server import Contender, Server

TOKENS = 2000


def credentials(where: Path) -> tuple[list[str], str]:
    """Write the server's side of the credentials; return tokens and an API key."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric import rsa

    from greenroom.runtime.auth.keys import new_key

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = jwt.get_algorithm_by_name("RS256").to_jwk(private.public_key(), as_dict=True)
    key, text = new_key("ada", now=0)
    where.write_text(json.dumps({"jwks": {"keys": [{**jwk, "kid": "1"}]}, "digest": key.digest}))
    claims = {"iss": "https://bench", "aud": "bench", "sub": "ada", "scope": "a b c"}
    claims["exp"] = int(time.time()) + 36_000  # type: ignore[assignment]
    tokens = [
        jwt.encode({**claims, "jti": str(number)}, private, algorithm="RS256", headers={"kid": "1"})
        for number in range(TOKENS)
    ]
    return tokens, text


def with_header(make: Callable[[], bytes], header: Callable[[], str]) -> Callable[[], bytes]:
    """Add a header field to each request."""

    def made() -> bytes:
        head, _, body = make().partition(b"\r\n\r\n")
        return head + b"\r\n" + header().encode() + b"\r\n\r\n" + body

    return made


async def measure(options: Options) -> list[Table]:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as running:
        where = Path(scratch) / "auth.json"
        tokens, key = credentials(where)
        os.environ["BENCH_AUTH"] = str(where)
        # One server for each row: what a server has kept already costs it garbage collection.
        peers = ("greenroom", "secured", "secured", "secured")
        servers = []
        for index, peer in enumerate(peers):
            # The last one forgets at once, so that every token is new to it.
            os.environ["BENCH_AUTH_CACHE"] = "1" if index == 3 else "10000"
            servers.append(running.enter_context(Server(Contender(peer))))
        costs = await _costs(options, servers, tokens, key)
        floods = await _floods(options, servers[1], tokens[0])
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
    found: dict[str, list[Figures]] = {}
    for round_ in range(-1, options.rounds):
        for name, (server, request) in rows.items():
            sample, cpu = await loaded(
                server, request, expect=wire.COMPLETED, seconds=options.seconds
            )
            if round_ >= 0:
                found.setdefault(name, []).append(per_request(sample, cpu))
    table = {
        name: {key: statistics.median(one[key] for one in many) for key in many[0]}
        for name, many in found.items()
    }
    # Round by round: what else the machine does changes between rounds more than within one.
    base = [one["cpu µs"] for one in found["anonymous"]]
    for name, figures in table.items():
        ratios = [one["cpu µs"] / own for one, own in zip(found[name], base, strict=True)]
        figures["added %"] = (statistics.median(ratios) - 1) * 100
    return Table("blocking send of a task, by credential", table, ())


async def _floods(options: Options, server: Server, token: str) -> Table:
    """Latency of one client that asks a hundred times a second, alone and beside each flood."""
    good = with_header(wire.send(), lambda: f"authorization: Bearer {token}")
    numbers = iter(range(10**9))
    large = wire.send("x" * 200_000)
    bad: dict[str, Callable[[], bytes]] = {
        "bad tokens": with_header(
            wire.send(), lambda: f"authorization: Bearer guess-{next(numbers)}"
        ),
        "bad API keys": with_header(wire.send(), lambda: f"x-api-key: guess-{next(numbers)}"),
        "large bodies, nobody's": large,
    }
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

    async def hammer(request: Callable[[], bytes]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, flooding = await loop.create_connection(
                    Connection, "127.0.0.1", server.port, local_addr=("127.0.0.2", 0)
                )
                while True:
                    await flooding.ask(request())
            except (OSError, ConnectionError):
                await asyncio.sleep(0.01)

    count = max(50, int(options.seconds * 60))
    alone = await latencies(count)
    for name, request in bad.items():
        quiet = await latencies(count)
        alone += quiet
        tasks = [asyncio.create_task(hammer(request)) for _ in range(32)]
        await asyncio.sleep(1.5)  # the first refusals are free
        loud = await latencies(count)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        rows[name] = _row(loud, quiet)
    connection.close()
    return Table(
        "latency of a good client beside a flood",
        {"alone": _row(alone, alone), **rows},
        (),
    )


def _row(took: list[float], quiet: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {
        "p50 ms": statistics.median(took) * 1e3,
        "p99 ms": ordered[int(len(ordered) * 0.99)] * 1e3,
        "p50 ratio": statistics.median(took) / statistics.median(quiet),
    }
