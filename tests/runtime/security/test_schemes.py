"""Each scheme over each binding, with real parts: sockets, keys, certificates, an issuer."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from greenroom.auth import (
    ApiKeys,
    AuditEntry,
    Basic,
    Call,
    Claims,
    Introspection,
    InvalidCredential,
    MutualTls,
    Security,
    enterprise_tokens,
    hash_password,
    new_key,
    oauth2,
    open_id_connect,
    static_tokens,
)
from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.runtime.security.schemes.api_keys import KeyFile
from greenroom.runtime.security.schemes.mutual_tls import forwarded_names
from greenroom.transports.http.settings import HttpSettings
from tests.runtime.security.serving import serving
from tests.support.certificates import Authority
from tests.support.clients import BINDINGS, said, send
from tests.support.issuer import Issuer
from tests.support.provider import CLIENT

pytestmark = pytest.mark.anyio
TOKEN = "a static token of some length"
every_binding = pytest.mark.parametrize("binding", BINDINGS)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def check(
    security: Security, binding: str, good: dict[str, str], bad: dict[str, str], who: str
) -> None:
    """Good credentials are somebody, bad ones and none get a challenge."""
    async with serving(security) as server:
        assert said(await server.call(binding, ops.SEND, send("whoami"), good)) == who
        for headers in ({}, bad):
            answer = await server.call(binding, ops.SEND, send("whoami"), headers)
            assert answer.outcome == "UNAUTHENTICATED"
            assert answer.status == ("UNAUTHENTICATED" if binding == "grpc" else 401)
            if binding != "grpc":
                assert answer.headers["www-authenticate"]
            for value in bad.values():
                assert value.rpartition(" ")[2] not in answer.text


@every_binding
async def test_static_token(binding: str) -> None:
    tokens = static_tokens({"ada": TOKEN, "bob": "another token of some length"})
    await check(Security(tokens), binding, bearer(TOKEN), bearer(TOKEN[:-1]), "|token#ada")


@every_binding
async def test_basic(binding: str) -> None:
    def header(password: str) -> dict[str, str]:
        return {"Authorization": "Basic " + b64encode(f"ada:{password}".encode()).decode()}

    scheme = Basic({"ada": hash_password("päss:word")})
    await check(Security(scheme), binding, header("päss:word"), header("pass"), "|basic#ada")


async def test_what_is_no_basic_credential() -> None:
    """Not even of a user whose password is the text that is missing."""
    scheme = Basic({"ada": hash_password("")})
    for text in (b"ada", b"", b"\xff:x"):
        header = {"authorization": f"Basic {b64encode(text).decode()}"}
        with pytest.raises(InvalidCredential, match="not Basic credentials"):
            await scheme.verify(Call(binding="JSONRPC", headers=header), time.time())
    with pytest.raises(ValueError, match="'ada' has no password"):
        Basic({"ada": ""})


@every_binding
async def test_api_key_in_a_header(binding: str, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    key, text = new_key("ada", now=time.time(), tenant="acme")
    file.add(key)
    assert text not in file.path.read_text()
    assert file.path.stat().st_mode & 0o077 == 0
    scheme = ApiKeys(file.path)
    await check(
        Security(scheme), binding, {"X-API-Key": text}, {"X-API-Key": text + "x"}, "acme|apiKey#ada"
    )


@pytest.mark.parametrize("binding", ["jsonrpc", "rest"])
async def test_api_key_in_query_and_cookie(binding: str) -> None:
    key, text = new_key("ada", now=time.time())
    async with serving(
        Security(
            ApiKeys([key], name="q", field="api_key", location="query"),
            ApiKeys([key], name="c", field="session", location="cookie"),
        )
    ) as server:
        found = await server.call(binding, ops.SEND, send("whoami"), query=f"?api_key={text}")
        assert said(found) == "|q#ada"
        cookie = {"Cookie": f"other=1; session={text}"}
        assert said(await server.call(binding, ops.SEND, send("whoami"), cookie)) == "|c#ada"
        wrong = await server.call(binding, ops.SEND, send("whoami"), query="?api_key=x")
        assert wrong.status == 401


async def test_a_cookie_among_others() -> None:
    """What other applications of the site set is not ours to judge."""
    key, text = new_key("ada", now=time.time())
    async with serving(Security(ApiKeys([key], field="session", location="cookie"))) as server:
        for around in (
            'a={"b":[1, 2]}; session=%s',
            'session="%s"; x=(c)',
            "xsession=1; session=%s",
        ):
            cookie = {"Cookie": around % text}
            assert (
                said(await server.call("rest", ops.SEND, send("whoami"), cookie)) == "|apiKey#ada"
            )
        elsewhere = {"Cookie": f"session={text}", "Sec-Fetch-Site": "cross-site"}
        assert (await server.call("rest", ops.SEND, send("whoami"), elsewhere)).status == 401
        for wrong in ("xsession=%s", "session=%s, x", "session=; other=%s"):
            cookie = {"Cookie": wrong % text}
            assert (await server.call("rest", ops.SEND, send("whoami"), cookie)).status == 401


async def test_a_file_of_keys_that_breaks_while_it_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The keys stay as they were, and the log says so; a mended file counts again."""
    file = KeyFile(tmp_path / "keys.json")
    key, text = new_key("ada", now=time.time())
    file.add(key)
    whole = file.path.read_bytes()
    gone = ApiKeys(file.path)
    scheme = ApiKeys(file.path)
    async with serving(Security(scheme)) as server:
        good = {"X-API-Key": text}
        for broken in (b"[{", whole.replace(b'"ada"', b'"a\\nb"')):
            file.path.write_bytes(broken)
            scheme._looked = -1e9  # a second later
            assert said(await server.call("rest", ops.SEND, send("whoami"), good)) == "|apiKey#ada"
            assert "keys.json" in caplog.text
            caplog.clear()
        file.path.unlink()
        scheme._looked = -1e9
        assert (await server.call("rest", ops.SEND, send("whoami"), good)).status == 401
    # Gone before it was looked at again: the same.
    assert gone.known(Call(binding="JSONRPC", headers={"x-api-key": text}), time.time()) is None


async def test_a_file_of_keys_that_can_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What kept it from being read has passed, and the file looks as it did meanwhile."""
    file = KeyFile(tmp_path / "keys.json")
    key, text = new_key("ada", now=time.time())
    file.add(key)
    scheme = ApiKeys(file.path)
    asked = Call(binding="JSONRPC", headers={"x-api-key": text})
    file.revoke(key.id, time.time())

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refused)  # root may read everything
        for _ in range(2):
            scheme._looked = -1e9  # a second later
            assert scheme.known(asked, time.time()) is not None
        assert caplog.text.count("stay as they were") == 1
    scheme._looked = -1e9
    assert scheme.known(asked, time.time()) is None


async def test_a_file_of_keys_stays_whose_it_was(tmp_path: Path) -> None:
    """Its server still reads it when somebody else, root in the end, has changed it."""
    file = KeyFile(tmp_path / "keys.json")
    key, _ = new_key("ada", now=time.time())
    file.add(key)
    if os.geteuid() == 0:
        os.chown(file.path, 65534, 65534)
    file.path.chmod(0o640)
    before = file.path.stat()
    assert file.revoke(key.id, time.time()) is not None
    after = file.path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid,
        before.st_gid,
        before.st_mode,
    )


async def test_an_api_key_that_was_revoked_or_has_expired(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    key, text = new_key("ada", now=time.time())
    old, expired = new_key("ada", now=0, lifetime=1)
    file.add(key)
    file.add(old)
    scheme = ApiKeys(file.path)
    async with serving(Security(scheme)) as server:
        good = {"X-API-Key": text}
        assert said(await server.call("rest", ops.SEND, send("whoami"), good))
        answer = await server.call("rest", ops.SEND, send("whoami"), {"X-API-Key": expired})
        assert "expired" in answer.text
        file.revoke(key.id, time.time())
        scheme._looked = -1e9  # a second later
        answer = await server.call("rest", ops.SEND, send("whoami"), good)
        assert answer.status == 401
        assert "revoked" in answer.text


@every_binding
async def test_open_id_connect(binding: str, issuer: Issuer) -> None:
    scheme = open_id_connect(issuer.url, audience="agents", claims=Claims(tenant="tid"))
    good, bad = issuer.token(tid="acme"), issuer.token(tid="acme", aud="others")
    await check(Security(scheme), binding, bearer(good), bearer(bad), f"acme|{issuer.url}#ada")


@every_binding
async def test_oauth2_with_introspection(binding: str, issuer: Issuer) -> None:
    introspection = Introspection(
        f"{issuer.url}/introspect", client_id=CLIENT[0], client_secret=CLIENT[1], audience="agents"
    )
    scheme = oauth2(
        token_url=f"{issuer.url}/token",
        scopes={"chat": "talk"},
        introspection=introspection,
        issuer=issuer.url,
    )
    good = issuer.opaque("opaque-1", sub="ada", aud=["agents"], scope="chat")
    bad = issuer.opaque("opaque-2", sub="ada", aud="others")
    security = Security(scheme, require=[{"oauth2": ["chat"]}])
    await check(security, binding, bearer(good), bearer(bad), f"|{issuer.url}#ada")


async def test_introspection_is_remembered_and_so_is_a_refusal(issuer: Issuer) -> None:
    introspection = Introspection(
        f"{issuer.url}/introspect", client_id=CLIENT[0], client_secret=CLIENT[1]
    )
    scheme = enterprise_tokens(introspection, issuer="https://platform.example")
    token = issuer.opaque("opaque-3", sub="ada")
    async with serving(Security(scheme)) as server:
        before = issuer.counts["introspections"]
        for _ in range(3):
            found = await server.call("rest", ops.SEND, send("whoami"), bearer(token))
            assert said(found) == "|https://platform.example#ada"
            wrong = await server.call("rest", ops.SEND, send("whoami"), bearer("never heard of"))
            assert wrong.status == 401
        assert issuer.counts["introspections"] == before + 2
        issuer.set(down=True)
        try:
            unknown = await server.call("rest", ops.SEND, send("whoami"), bearer("yet another"))
            assert unknown.status == 503
            assert said(await server.call("rest", ops.SEND, send("whoami"), bearer(token)))
        finally:
            issuer.set(down=False)


@pytest.mark.parametrize(
    ("binding", "anyio_backend"),
    [
        *(("jsonrpc", "asyncio"), ("rest", "asyncio"), ("grpc", "asyncio")),
        *(("jsonrpc", "trio"), ("rest", "trio")),
    ],
)
async def test_mutual_tls(binding: str, anyio_backend: str, tmp_path: Path) -> None:
    """The handshake asks for a certificate; who comes without one may have another credential."""
    authority = Authority(tmp_path)
    security = Security(MutualTls(identity="email", allow=["*@example.org"]), static_tokens(TOKEN))
    with_grpc = anyio_backend == "asyncio"
    async with serving(security, listen=authority.listen(False), with_grpc=with_grpc) as server:

        async def ask(**headers: str) -> str:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = await server.call(binding, ops.SEND, send("whoami"), named)
            return said(answer) if answer.outcome == "ok" else answer.outcome

        authority.show(server, authority.leaf("ada@example.org"))
        assert await ask() == "|mtls#ada@example.org"
        authority.show(server, authority.leaf("eve@example.com"))
        assert await ask() == "UNAUTHENTICATED"
        authority.show(server, None)
        claimed = 'Subject="CN=ada";URI=spiffe://example.org/ada'
        assert await ask(x_forwarded_client_cert=claimed) == "UNAUTHENTICATED"
        assert await ask(authorization=f"Bearer {TOKEN}") == "|token#token"


@every_binding
@pytest.mark.parametrize("trusted", [("127.0.0.1",), ("10.0.0.0/8",), ("*",), ()])
async def test_a_certificate_that_a_proxy_speaks_of(binding: str, trusted: tuple[str, ...]) -> None:
    """Only a proxy that was named may say who its client is; ``*`` names nobody."""
    security = Security(MutualTls(identity="spiffe", forwarded=True))
    http = HttpSettings(trusted_proxies=trusted)
    header = {
        "x-forwarded-client-cert": "By=spiffe://x/front;URI=spiffe://example.org/first,"
        'Hash=abc;Subject="CN=a, O=\\"b\\"";URI=spiffe://example.org/ada'
    }
    async with serving(security, http=http) as server:
        answer = await server.call(binding, ops.SEND, send("whoami"), header)
        if trusted == ("127.0.0.1",):
            assert said(answer) == "|mtls#spiffe://example.org/ada"
            mangled = {"x-forwarded-client-cert": 'Subject="CN=a'}
            for bad in (mangled, {"x-forwarded-client-cert": ""}, {}):
                answer = await server.call(binding, ops.SEND, send("whoami"), bad)
                assert answer.outcome == "UNAUTHENTICATED"
        else:
            assert answer.outcome == "UNAUTHENTICATED"


@every_binding
async def test_a_proxy_tells_whom_to_slow_down(binding: str) -> None:
    """Who is refused is the caller behind the proxy, not the proxy before everybody."""
    seen: list[AuditEntry] = []

    class Sink:
        def record(self, entry: AuditEntry) -> None:
            seen.append(entry)

        def close(self) -> None:
            pass

    security = Security(static_tokens(TOKEN), audit=Sink())
    http = HttpSettings(trusted_proxies=("127.0.0.1", "10.0.0.0/8"))
    hops = {"x-forwarded-for": "203.0.113.9, 198.51.100.7, 10.0.0.2"}
    hops["forwarded"] = "for=203.0.113.66"  # the proxies hand on what they do not know
    async with serving(security, http=http) as server:
        await server.call(binding, ops.SEND, send("whoami"), hops)
    assert [entry.address for entry in seen] == ["198.51.100.7"]
    seen.clear()
    rfc = HttpSettings(trusted_proxies=http.trusted_proxies, forwarded_headers=("forwarded",))
    async with serving(Security(static_tokens(TOKEN), audit=Sink()), http=rfc) as server:
        await server.call(binding, ops.SEND, send("whoami"), hops)
    assert [entry.address for entry in seen] == ["203.0.113.66"]
    seen.clear()
    async with serving(Security(static_tokens(TOKEN), audit=Sink())) as server:
        await server.call(binding, ops.SEND, send("whoami"), hops)
    assert [entry.address for entry in seen] == ["127.0.0.1"]


@every_binding
async def test_the_certificate_of_the_proxy_itself_is_nobodys(binding: str, tmp_path: Path) -> None:
    """A proxy that shows one of its own to us does not lend it to its clients."""
    authority = Authority(tmp_path)
    security = Security(MutualTls(identity="email", forwarded=True))
    http = HttpSettings(trusted_proxies=("127.0.0.1",))
    async with serving(security, http=http, listen=authority.listen()) as server:
        authority.show(server, authority.leaf("proxy@example.org"))
        pem = authority.leaf("ada@example.org").cert_chain_pems[0].bytes()
        told = {"x-forwarded-client-cert": f'Cert="{quote(pem.decode())}"'}
        assert said(await server.call(binding, ops.SEND, send("whoami"), told)) == (
            "|mtls#ada@example.org"
        )
        refused = await server.call(binding, ops.SEND, send("whoami"))
        assert refused.outcome == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("CN=ada,O=Example", "ada"),
        ("O=Example, CN=ada", "ada"),
        (r"O=x\,CN=admin,CN=eve", "eve"),
        ("O=x/CN=admin,CN=eve", "eve"),
        (r"O=x\+CN=admin+CN=eve", "eve"),
        (r"CN=a\,b", "a,b"),
        (r"CN=Jos\C3\A9,O=x", "José"),
        (r"O=x\\,CN=admin,CN=eve", ""),
        (r"O=x\,CN=admin", ""),
        ("/O=x/CN=admin", ""),
        ('O="x,CN=admin",CN=eve', ""),
    ],
)
def test_the_common_name_is_not_what_stands_in_another_value(subject: str, name: str) -> None:
    escaped = subject.replace('"', '\\"')  # as Envoy does: nothing else is escaped again
    found = forwarded_names(f'Hash=abc;Subject="{escaped}"')
    assert (found.common_names, found.subject) == ((name,) if name else (), subject)


def certificate(authority: Authority, *names: str, minutes: float = 60) -> tuple[bytes, bytes]:
    """A client's certificate with these common names, which ends so soon, and its key (PEM)."""
    issuer = x509.load_pem_x509_certificate(authority.authority.cert_pem.bytes())
    pem = authority.authority.private_key_pem.bytes()
    signer: Any = serialization.load_pem_private_key(pem, None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(minutes=minutes))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )  # which Python 3.13 asks for
        .sign(signer, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain
    )
    return made.public_bytes(serialization.Encoding.PEM), private


@every_binding
@pytest.mark.parametrize("allow", [None, ["ada"], ["a*"], ["eve"]], ids=repr)
async def test_a_certificate_with_several_common_names(
    binding: str, allow: list[str] | None, tmp_path: Path
) -> None:
    """It is nobody's, unless exactly one of them is allowed; who orders them decides nothing."""
    authority = Authority(tmp_path)
    pem, key = certificate(authority, "admin", "ada")
    chain, private = tmp_path / "client.pem", tmp_path / "client.key"
    chain.write_bytes(pem)
    private.write_bytes(key)
    security = Security(MutualTls(identity="cn", allow=allow))
    async with serving(security, listen=authority.listen()) as server:
        authority.show(server, None)
        assert server.tls is not None
        server.tls.load_cert_chain(chain, private)
        ca = authority.authority.cert_pem.bytes()
        server.credentials = grpc.ssl_channel_credentials(ca, key, pem)
        answer = await server.call(binding, ops.SEND, send("whoami"))
    if allow == ["ada"]:
        assert said(answer) == "|mtls#ada"
    else:
        assert answer.outcome == "UNAUTHENTICATED"
        assert ("allowed here" if allow == ["eve"] else "more than one cn") in answer.text


@every_binding
async def test_a_certificate_of_the_past_that_a_proxy_hands_on(
    binding: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    http = HttpSettings(trusted_proxies=("127.0.0.1",))
    async with serving(Security(MutualTls(identity="cn", forwarded=True)), http=http) as server:
        for minutes, outcome in ((60, "ok"), (-1, "UNAUTHENTICATED")):
            pem, _ = certificate(authority, "ada", minutes=minutes)
            header = {"x-forwarded-client-cert": f'Cert="{quote(pem, safe="")}"'}
            for _ in range(2):
                answer = await server.call(binding, ops.SEND, send("whoami"), header)
                assert answer.outcome == outcome


async def test_a_certificate_ends_for_who_is_known_too(tmp_path: Path) -> None:
    scheme = MutualTls(identity="cn", forwarded=True)
    pem, _ = certificate(Authority(tmp_path), "ada")
    told = f'Cert="{quote(pem, safe="")}"'
    asked, now = Call(binding="JSONRPC", forwarded_certificate=told), time.time()
    found = await scheme.verify(asked, now)
    assert scheme.known(asked, now + 3500) == found
    assert scheme.known(asked, now + 3601) is None
    with pytest.raises(InvalidCredential, match="expired"):
        await scheme.verify(asked, now + 3601)


def test_several_common_names_that_a_proxy_tells() -> None:
    assert forwarded_names('Subject="CN=ada,O=x,CN=admin"').common_names == ("ada", "admin")
    assert forwarded_names('Subject="CN=ada+CN=admin"').common_names == ("ada", "admin")


async def test_schemes_as_alternatives_and_together(issuer: Issuer) -> None:
    key, text = new_key("machine", now=time.time())
    security = Security(
        static_tokens({"ada": TOKEN}),
        open_id_connect(issuer.url, audience="agents"),
        ApiKeys([key]),
        require=[{"token": [], "apiKey": []}, {"oidc": ["chat"]}],
    )
    async with serving(security) as server:

        async def ask(**headers: str) -> str:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = await server.call("jsonrpc", ops.SEND, send("whoami"), named)
            return said(answer) if answer.outcome == "ok" else answer.outcome

        static, signed = f"Bearer {TOKEN}", f"Bearer {issuer.token(scope='chat')}"
        assert await ask(Authorization=static, X_API_Key=text) == "|token#ada"
        assert await ask(Authorization=signed) == f"|{issuer.url}#ada"
        assert await ask(Authorization=static) == "UNAUTHENTICATED"
        assert await ask(X_API_Key=text) == "UNAUTHENTICATED"
        unscoped = f"Bearer {issuer.token(scope='other')}"
        assert await ask(Authorization=unscoped) == "PERMISSION_DENIED"


@pytest.mark.parametrize("binding", ["jsonrpc", "rest"])
async def test_answers_to_a_caller_are_not_for_caches(binding: str) -> None:
    token = "the-token-of-a-good-client"
    async with serving(Security(static_tokens(token)), with_grpc=False) as server:
        mine = {"Authorization": f"Bearer {token}"}
        asked = [(ops.LIST_TASKS, t.ListTasksRequest()), (ops.GET_TASK, t.GetTaskRequest(id="x"))]
        for headers in (mine, {}):
            for operation, request in asked:
                answer = await server.call(binding, operation, request, headers)
                assert answer.headers["cache-control"] == "private, no-store", answer
                assert answer.headers["vary"] == "Authorization"
        answer = await server.call(binding, ops.STREAM, send("x"), mine)
        assert answer.headers["cache-control"] == "no-store"
