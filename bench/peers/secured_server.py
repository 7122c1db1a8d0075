# mypy: ignore-errors
"""Greenroom behind its gate: signed tokens and API keys, the keys of both from ``BENCH_AUTH``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from greenroom import asgi
from greenroom.auth import ApiKey, ApiKeys, Bearer, Limits, Security
from greenroom.protocol.jose import keys_of
from greenroom.runtime.security.schemes.jwt import JwtVerifier

from .greenroom_server import AWAKE, make_agent
from .serve import main


class Keys:
    """The issuer's keys, at hand: what is measured is the gate, not the network."""

    def __init__(self, jwks):
        self._keys = keys_of(jwks)

    async def find(self, kid, now):
        return self._keys


def make_app(options: argparse.Namespace):
    given = json.loads(Path(os.environ["BENCH_AUTH"]).read_text())
    verifier = JwtVerifier(Keys(given["jwks"]), issuer="https://bench", audience="bench")
    security = Security(
        Bearer("oidc", verifier, cache=int(os.environ["BENCH_AUTH_CACHE"])),
        ApiKeys([ApiKey(id="1", digest=given["digest"], owner="ada")]),
    )
    limits = Limits() if "BENCH_AUTH_LIMITED" in os.environ else Limits(rate=0)
    return asgi(
        make_agent(options.agent),
        store=options.store,
        runtime=AWAKE,
        security=security,
        limits=limits,
    )


if __name__ == "__main__":
    main(make_app)
