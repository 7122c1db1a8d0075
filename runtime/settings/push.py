"""How push notifications are delivered, and where they may go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from .bounds import Count, NotNegative, Port, Positive
from .described import described

Chance = Annotated[float, Meta(ge=0, le=1)]


@described
class PushSettings(Struct, frozen=True, kw_only=True):
    """How the server delivers push notifications (webhooks). Times are in seconds."""

    enabled: Annotated[
        bool, Meta(description="Whether clients may register webhooks; cards say so.")
    ] = True
    allow_private: Annotated[
        bool,
        Meta(
            description="Deliver to every address, over http too. For development: a client could "
            "reach what stands beside the server."
        ),
    ] = False
    allow_http: Annotated[
        bool, Meta(description="Deliver to ``http://`` addresses too, without TLS.")
    ] = False
    hosts: Annotated[
        tuple[str, ...],
        Meta(description="Host names that may lead to any address, on any port."),
    ] = ()
    networks: Annotated[
        tuple[str, ...],
        Meta(description="Networks (CIDR) that are allowed though they are not public."),
    ] = ()
    ports: Annotated[
        tuple[Port, ...],
        Meta(description="Ports below 1024 that are allowed."),
    ] = (80, 443)
    ca_file: Annotated[
        str | None,
        Meta(description="Certificate authorities of the receivers (PEM), beside the system's."),
    ] = None
    timeout: Annotated[Positive, Meta(description="Time for one attempt.")] = 10.0
    first_delay: Annotated[
        Positive,
        Meta(description="Time until the second attempt; it doubles with each further one."),
    ] = 5.0
    max_delay: Annotated[
        Positive,
        Meta(
            description="The longest time between two attempts, and the longest that the server "
            "waits because a ``Retry-After`` asks for it."
        ),
    ] = 3600.0
    jitter: Annotated[
        Chance, Meta(description="Share of a delay that is left to chance, both ways.")
    ] = 0.2
    dead_after: Annotated[
        Positive,
        Meta(description="A configuration that only failed for this long is marked as dead …"),
    ] = 86_400.0
    dead_delay: Annotated[
        Positive, Meta(description="… and is tried this often from then on. An answer heals it.")
    ] = 21_600.0
    disable_after: Annotated[
        Positive,
        Meta(description="A configuration that only failed for this long is disabled."),
    ] = 432_000.0
    refusals: Annotated[
        Count,
        Meta(
            description="Attempts of a delivery that the receiver refuses with a 4xx that no later "
            "attempt can change; then it becomes a dead letter, and the next one has its turn."
        ),
    ] = 3
    per_host: Annotated[Count, Meta(description="Deliveries under way to one host.")] = 8
    concurrency: Annotated[Count, Meta(description="Deliveries under way in all.")] = 256
    per_task: Annotated[Count, Meta(description="Configurations of one task.")] = 20
    per_owner: Annotated[Count, Meta(description="Configurations of one owner with one agent.")] = (
        10_000
    )
    merge: Annotated[
        bool,
        Meta(
            description="Merge chunks of an artifact that wait for their delivery into one event. "
            "Never for clients of 1.1."
        ),
    ] = True
    signature: Annotated[
        Literal["both", "standard", "amp", "none"],
        Meta(description="Signatures of deliveries that have a secret."),
    ] = "both"
    secrets: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(
            description="Secrets that sign deliveries, by slug of the agent, ``*`` for all others "
            "(``whsec_`` and base64, or any text). Two of them sign during a rotation."
        ),
    ] = {}
    keys: Annotated[
        tuple[str, ...],
        Meta(
            description="Key ring that encrypts configurations in the store: ``name=base64`` of 32 "
            "bytes each (`greenroom push key` makes one). The first encrypts, all decrypt."
        ),
    ] = ()
    signing_keys: Annotated[
        tuple[str, ...],
        Meta(
            description="Private ed25519 keys (PEM files) that sign deliveries (``v1a``); their "
            "public halves are in the key set at ``/.well-known/jwks.json``."
        ),
    ] = ()
    drain: Annotated[
        NotNegative, Meta(description="What deliveries under way are given at shutdown.")
    ] = 5.0
