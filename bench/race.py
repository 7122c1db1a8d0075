"""Interleaved rounds: every contender once per round, so the machine's drift hits all alike."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from .load import Sample, hammer
from .server import Contender, Server

Figures = Mapping[str, float]
COMPARED = ("cpu µs", "req/s", "p99 ms")  # what `per_request` is judged by


@dataclass(frozen=True, slots=True)
class Options:
    rounds: int = 5
    seconds: float = 1.5
    peers: frozenset[str] = frozenset()  # empty: all

    def invited(self, contenders: Sequence[Contender]) -> list[Contender]:
        return [one for one in contenders if not self.peers or one.peer in self.peers]


@dataclass(frozen=True, slots=True)
class Table:
    """One answered question: rows of figures, the first row being the one to beat."""

    title: str
    rows: dict[str, dict[str, float]]
    compared: tuple[str, ...]  # columns shown as "so many times better than the first row" too


async def race(
    contenders: Sequence[Contender],
    job: Callable[[Server], Awaitable[Figures]],
    rounds: int,
    warm_up: Callable[[Server], Awaitable[object]] | None = None,
) -> dict[str, dict[str, float]]:
    """Run `job` against each contender in turn, `rounds` times; medians by contender's name."""
    seen: dict[str, list[Figures]] = {}
    with ExitStack() as running:
        servers = [running.enter_context(Server(one)) for one in contenders]
        for server in servers:
            await (warm_up or job)(server)
        for _ in range(rounds):
            for server in servers:
                seen.setdefault(server.contender.name, []).append(await job(server))
    return {
        name: {key: statistics.median(one[key] for one in figures) for key in figures[0]}
        for name, figures in seen.items()
    }


async def loaded(
    server: Server,
    request: Callable[[], bytes],
    *,
    expect: bytes,
    seconds: float,
    connections: int = 16,
    streaming: bool = False,
) -> tuple[Sample, float]:
    """One round of load and the CPU seconds the server spent on it."""
    before = server.cpu()
    sample = await hammer(
        server.port,
        request,
        expect=expect,
        seconds=seconds,
        connections=connections,
        streaming=streaming,
    )
    return sample, server.cpu() - before


def per_request(sample: Sample, cpu: float) -> Figures:
    return {
        "cpu µs": cpu / sample.requests * 1e6,
        "req/s": sample.requests / sample.seconds,
        "p50 ms": sample.p50 * 1e3,
        "p99 ms": sample.p99 * 1e3,
        "busy %": cpu / sample.seconds * 100,
    }
