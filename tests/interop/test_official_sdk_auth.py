"""The official SDK's clients read the scheme from our card and present the credential.

Every scheme over every binding, by programs in environments of their own: 1.x and 0.3.x. The SDK of
1.x presents bearer tokens and API keys in a header by itself, that of 0.3 over JSON-RPC only. For
the rest its user writes a hook (``Hook`` in ``interop/clients/auth_*.py``); that the SDK presents
nothing without one is shown here, too. Certificates are the business of the HTTP client and the
channel that the SDK is given. gRPC has no query for a key to be in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from msgspec import Struct

from greenroom.auth import (
    ApiKeys,
    Basic,
    Introspection,
    MutualTls,
    Security,
    enterprise_tokens,
    hash_password,
    new_key,
    oauth2,
    open_id_connect,
    static_tokens,
)
from tests.runtime.security.serving import serving
from tests.support.certificates import Authority
from tests.support.clock import on_asyncio
from tests.support.issuer import Issuer, issuer
from tests.support.provider import CALLER, CLIENT
from tests.support.servers import OnSockets

from .peers import TRANSPORTS, ForeignClient

__all__ = ["issuer", "on_asyncio"]

pytestmark = pytest.mark.anyio
SCRIPTS = {"1.3.0": "auth_1_x.py", "0.3.26": "auth_0_3.py"}
KEY, TEXT = new_key("ada", now=time.time())
STATIC = "a-static-token-of-some-length"
SCOPES = {"desk:use": "Talk to the desk"}
PROGRAM = {"client": list(CALLER)}
"""Gets its token from the endpoint that the card names."""

Credentials = Mapping[str, Any]


class Row(Struct, frozen=True, kw_only=True):
    """``good`` and ``bad`` by the name of the scheme on the card; ``cert`` names a certificate."""

    security: Security
    who: str = "#ada"
    """The end of the owner's name."""
    good: Credentials = {}
    cert: str | None = None
    bad: Sequence[Credentials] = ()
    bad_cert: str | None = None
    lacking: Credentials | None = None
    """A credential without the scope that the card names."""
    hook: bool = False
    """The SDK leaves this scheme to its users."""


def introspection(issuer: Issuer) -> Introspection:
    url = f"{issuer.url}/introspect"
    return Introspection(url, client_id=CLIENT[0], client_secret=CLIENT[1])


def static(issuer: Issuer) -> Row:
    return Row(
        security=Security(static_tokens({"ada": STATIC})),
        good={"token": STATIC},
        bad=[{"token": STATIC[:-1]}],
    )


def enterprise(issuer: Issuer) -> Row:
    scheme = enterprise_tokens(introspection(issuer), issuer="https://platform.example")
    token = issuer.opaque("of-the-platform", sub="ada")
    ended = issuer.opaque("that-has-ended", sub="ada", active=False)
    return Row(
        security=Security(scheme),
        good={"enterprise": token},
        bad=[{"enterprise": "unheard-of"}, {"enterprise": ended}],
    )


def oidc(issuer: Issuer) -> Row:
    return Row(
        security=Security(open_id_connect(issuer.url, audience="agents")),
        good={"oidc": PROGRAM},
        bad=[{"oidc": issuer.token(forge="key")}, {"oidc": issuer.token(aud="others")}],
    )


def oauth2_signed(issuer: Issuer) -> Row:
    scheme = oauth2(
        token_url=f"{issuer.url}/token", scopes=SCOPES, issuer=issuer.url, audience="agents"
    )
    return Row(
        security=Security(scheme, require=[{"oauth2": ["desk:use"]}]),
        good={"oauth2": PROGRAM},
        bad=[{"oauth2": issuer.token(scope="desk:use", exp=time.time() - 3600)}],
        lacking={"oauth2": issuer.token(scope="desk:see")},
    )


def oauth2_opaque(issuer: Issuer) -> Row:
    url = f"{issuer.url}/token/opaque"
    scheme = oauth2(token_url=url, scopes=SCOPES, introspection=introspection(issuer))
    return Row(
        security=Security(scheme, require=[{"oauth2": ["desk:use"]}]),
        good={"oauth2": PROGRAM},
        bad=[{"oauth2": "never-issued"}],
        lacking={"oauth2": issuer.opaque("without-scope", sub="ada", scope="desk:see")},
    )


def key_in_header(issuer: Issuer) -> Row:
    return Row(
        security=Security(ApiKeys([KEY])), good={"apiKey": TEXT}, bad=[{"apiKey": TEXT + "x"}]
    )


def key_in_query(issuer: Issuer) -> Row:
    return Row(
        security=Security(ApiKeys([KEY], field="api_key", location="query")),
        good={"apiKey": TEXT},
        bad=[{"apiKey": TEXT + "x"}],
        hook=True,
    )


def key_in_cookie(issuer: Issuer) -> Row:
    return Row(
        security=Security(ApiKeys([KEY], field="session", location="cookie")),
        good={"apiKey": TEXT},
        bad=[{"apiKey": TEXT + "x"}],
        hook=True,
    )


def basic(issuer: Issuer) -> Row:
    return Row(
        security=Security(Basic({"ada": hash_password("pass:word")})),
        good={"basic": "ada:pass:word"},
        bad=[{"basic": "ada:pass"}],
        hook=True,
    )


def mutual_tls(issuer: Issuer) -> Row:
    return Row(
        security=Security(MutualTls(identity="email", allow=["ada@example.org"])),
        who="#ada@example.org",
        cert="ada@example.org",
        bad_cert="eve@example.org",
    )


def token_and_certificate(issuer: Issuer) -> Row:
    return Row(
        security=Security(
            open_id_connect(issuer.url, audience="agents"),
            MutualTls(identity="email", allow=["ada@example.org"]),
            require=[{"oidc": [], "mtls": []}],
        ),
        good={"oidc": PROGRAM},
        cert="ada@example.org",
        bad=[{"oidc": issuer.token(forge="key")}],
        bad_cert="eve@example.org",
    )


def one_of_two(issuer: Issuer) -> Row:
    """The card offers alternatives; the program has the second."""
    return Row(
        security=Security(open_id_connect(issuer.url, audience="agents"), ApiKeys([KEY])),
        good={"apiKey": TEXT},
        bad=[{"apiKey": "unknown"}, {"oidc": issuer.token(forge="key")}],
    )


ROWS: list[Callable[[Issuer], Row]] = [
    static, enterprise, oidc, oauth2_signed, oauth2_opaque, key_in_header, key_in_query,
    key_in_cookie, basic, mutual_tls, token_and_certificate, one_of_two,
]  # fmt: skip


@pytest.fixture(scope="module", params=SCRIPTS)
def client(request: pytest.FixtureRequest) -> Iterator[ForeignClient]:
    running = ForeignClient(request.param, SCRIPTS[request.param])
    yield running
    running.close()


class Asking:
    """A program with the SDK, over one binding."""

    def __init__(self, client: ForeignClient, transport: str, server: OnSockets) -> None:
        self.client, self.transport, self.server = client, transport, server

    async def __call__(self, how: str, credentials: Credentials, **more: Any) -> dict[str, Any]:
        run = partial(self.client.run, how, self.transport, self.server.url, **more)
        answer = await to_thread.run_sync(partial(run, credentials=dict(credentials)))
        assert "crash" not in answer, answer["crash"]
        return answer

    async def refused(self, status: int, code: str, credentials: Credentials, **more: Any) -> None:
        for how in ("send", "stream"):
            error = (await self(how, credentials, **more)).get("error")
            assert error, f"{credentials} passed"
            assert error["status"] == (code if self.transport == "grpc" else status)
            assert error["challenge"]


CASES = [
    pytest.param(make, transport, id=f"{make.__name__}-{transport}")
    for make in ROWS
    for transport in TRANSPORTS
    if (make, transport) != (key_in_query, "grpc")
]


@pytest.mark.parametrize(("make", "transport"), CASES)
async def test_the_scheme_from_the_card(
    make: Callable[[Issuer], Row],
    transport: str,
    client: ForeignClient,
    issuer: Issuer,
    tmp_path: Path,
) -> None:
    row = make(issuer)
    authority = Authority(tmp_path) if row.cert or row.bad_cert else None
    listen = authority.listen(required=False) if authority is not None else None

    def shown(name: str | None) -> dict[str, Any]:
        if authority is None:
            return {}
        pair = dict(zip(("cert", "key"), authority.files(name), strict=True)) if name else {}
        return {"tls": {"ca": authority.ca, **pair}}

    legacy = client.version.startswith("0.")
    hook = bool(row.good) and (row.hook or (legacy and transport != "jsonrpc"))
    good = shown(row.cert)
    with_grpc = make is not key_in_query
    async with serving(row.security, listen=listen, with_grpc=with_grpc) as server:
        ask = Asking(client, transport, server)
        for how in ("send", "stream"):
            answer = await ask(how, row.good, hook=hook, **good)
            assert answer.get("result", str(answer)).endswith(row.who)
        unauthenticated = partial(ask.refused, 401, "UNAUTHENTICATED")
        for bad in row.bad:
            await unauthenticated(bad, hook=hook, **good)
        if row.good:
            await unauthenticated({}, hook=hook, **good)
        if hook:  # what the SDK does itself, which is nothing
            await unauthenticated(row.good, hook=False, **good)
        if authority is not None:
            for other in (None, row.bad_cert):
                await unauthenticated(row.good, hook=hook, **shown(other))
        if row.lacking is not None:
            await ask.refused(403, "PERMISSION_DENIED", row.lacking, hook=hook)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_keys_that_rotate(transport: str, client: ForeignClient, issuer: Issuer) -> None:
    """What the new key signed is taken at once; what the old one signed is so no longer."""
    scheme = open_id_connect(issuer.url, audience="agents", refetch_every=0.0)
    hook = client.version.startswith("0.") and transport != "jsonrpc"
    async with serving(Security(scheme)) as server:
        ask = Asking(client, transport, server)
        old = {"oidc": issuer.token()}
        for algorithm in ("ES256", "RS256"):
            assert (await ask("send", old, hook=hook))["result"].endswith("#ada")
            issuer.rotate(algorithm)
            assert (await ask("send", {"oidc": PROGRAM}, hook=hook))["result"].endswith("#ada")
            await ask.refused(401, "UNAUTHENTICATED", old, hook=hook)
            old = {"oidc": issuer.token()}
