"""Security from settings: files, variables, the command line of keys; what does not start."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from greenroom import Agent, Settings
from greenroom.auth import Call, Principal, Security, hash_password
from greenroom.cli.main import main
from greenroom.protocol.cards.shapes import card_json
from greenroom.runtime.security.schemes.api_keys import KeyFile
from greenroom.runtime.security.schemes.combination import Combination
from greenroom.settings.auth import AuthSettings
from greenroom.settings.security import check_transport, secure
from greenroom.settings.settings import SettingsError, load
from tests.protocol.cards.test_signing import card
from tests.support.clock import on_asyncio
from tests.support.interpreters import environment
from tests.support.issuer import Issuer, issuer
from tests.support.paths import ROOT
from tests.support.provider import CLIENT
from tests.support.servers import as_process

__all__ = ["issuer", "on_asyncio"]

TOML = """
[greenroom.auth]
require = ["oidc=chat read", "apiKey+mtls"]
keys_file = "{keys}"
oidc_issuer = "https://login.example.com/"
oidc_audience = ["agents"]
mtls = "direct"
mtls_identity = "dns"

[greenroom.auth.agents]
desk = ["desk:use"]

[greenroom.auth.operations]
CancelTask = ["tasks:cancel"]

[greenroom.limits.operations]
SendMessage = 20
"""


def test_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "greenroom.toml"
    (tmp_path / "keys.json").write_text("[]")
    file.write_text(TOML.format(keys=tmp_path / "keys.json"))
    settings = load(config=str(file))
    security = secure(settings.auth)
    assert isinstance(security.authenticator, Combination)
    assert set(security.authenticator.schemes) == {"apiKey", "oidc", "mtls"}
    shown = [
        {name: one.list for name, one in requirement.schemes.items()}
        for requirement in security.authenticator.requirements
    ]
    assert shown == [{"oidc": ["chat", "read"]}, {"apiKey": [], "mtls": []}]
    assert security.policy.operations == {"CancelTask": ("tasks:cancel",)}
    assert settings.limits.operations == {"SendMessage": 20}


def test_from_the_environment() -> None:
    settings = load(
        environ={
            "AUTH_TOKEN": "the-token-that-others-read",
            "GREENROOM_AUTH_TOKENS": "ada=a-token-of-ada-herself",
            "GREENROOM_AUTH_OPERATIONS": "CancelTask=a b,ListTasks=c",
            "GREENROOM_LIMITS_RATE": "5",
        }
    )
    assert settings.auth.operations == {"CancelTask": ("a", "b"), "ListTasks": ("c",)}
    assert settings.limits.rate == 5
    assert [scheme.name for scheme in secure(settings.auth).schemes] == ["token"]
    assert "the-token-that-others-read" not in repr(settings)
    assert "a-token-of-ada-herself" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH_TOKEN", ""),
        ("AUTH_TOKEN", "  "),
        ("GREENROOM_AUTH_TOKEN", ""),
        ("GREENROOM_AUTH_TOKENS", ""),
        ("GREENROOM_AUTH_USERS", ","),
        ("GREENROOM_AUTH_KEYS_FILE", ""),
        ("GREENROOM_AUTH_REQUIRE", " "),
        ("GREENROOM_AUTH_OIDC_ISSUER", ""),
    ],
)
def test_a_setting_that_is_empty_does_not_open_the_server(name: str, value: str) -> None:
    setting = name.removeprefix("GREENROOM_AUTH_").lower()
    told = name if name == "AUTH_TOKEN" else f"auth.{setting} is empty"
    with pytest.raises(SettingsError, match=told):
        load(environ={name: value})


def test_an_empty_table_does_not_open_the_server(tmp_path: Path) -> None:
    file = tmp_path / "greenroom.toml"
    file.write_text("[greenroom.auth.users]\n")
    with pytest.raises(SettingsError, match=r"auth\.users is empty"):
        load(config=str(file))
    with pytest.raises(ValueError, match=r"auth\.token is empty"):
        secure(AuthSettings(token=""))


HASHED = hash_password("secret")


async def principal_of(security: Security, **call: Any) -> Principal:
    assert security.authenticator is not None
    return await security.authenticator.authenticate(Call(binding="TEST", **call), time.time())


@pytest.mark.anyio
async def test_what_holders_of_tokens_and_users_may_do(tmp_path: Path) -> None:
    file = tmp_path / "greenroom.toml"
    file.write_text(f"""
        [greenroom.auth.tokens]
        ada = "the-token-of-ada-herself"
        [greenroom.auth.token_tenants]
        ada = "acme"
        [greenroom.auth.token_scopes]
        ada = ["chat", "read"]
        token = ["all"]
        [greenroom.auth.users]
        bob = "{HASHED}"
        [greenroom.auth.user_tenants]
        bob = "corp"
        [greenroom.auth.user_scopes]
        bob = ["chat"]
    """)
    environ = {"AUTH_TOKEN": "the-token-that-others-read"}
    security = secure(load(config=str(file), environ=environ).auth)
    basic = b64encode(b"bob:secret").decode()
    for shown, expected in (
        ("Bearer the-token-of-ada-herself", ("ada", "acme", {"chat", "read"})),
        ("Bearer the-token-that-others-read", ("token", "", {"all"})),
        (f"Basic {basic}", ("bob", "corp", {"chat"})),
    ):
        principal = await principal_of(security, headers={"authorization": shown})
        assert (principal.subject, principal.tenant, {*principal.scopes}) == expected


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "path"), [("basic", ""), ("post", "/form")])
@pytest.mark.parametrize("group", ["introspection", "oauth"])
async def test_how_a_server_shows_who_it_is(
    group: str, method: str, path: str, issuer: Issuer
) -> None:
    token = issuer.opaque("an-opaque-token-of-mine", sub="ada")
    overrides: dict[str, object] = {
        f"auth.{group}_client_id": CLIENT[0],
        f"auth.{group}_client_secret": CLIENT[1],
        f"auth.{group}_client_auth": method,
    }
    if group == "oauth":
        overrides["auth.oauth_token_url"] = f"{issuer.url}/token"
        overrides["auth.oauth_introspection_url"] = f"{issuer.url}/introspect{path}"
    else:
        overrides["auth.introspection_url"] = f"{issuer.url}/introspect{path}"
    security = secure(load(overrides=overrides).auth)
    principal = await principal_of(security, headers={"authorization": f"Bearer {token}"})
    assert principal.subject == "ada"


@pytest.mark.anyio
async def test_what_certificates_may_do() -> None:
    settings = load(
        environ={
            "GREENROOM_AUTH_MTLS": "forwarded",
            "GREENROOM_AUTH_MTLS_TENANTS": "spiffe://example.org/acme/*=acme",
            "GREENROOM_AUTH_MTLS_SCOPES": "spiffe://example.org/*=chat,*/admin=all read",
        }
    )
    security = secure(settings.auth)
    for name, expected in (
        ("spiffe://example.org/acme/admin", ("acme", {"chat", "all", "read"})),
        ("spiffe://example.org/corp/desk", ("", {"chat"})),
    ):
        principal = await principal_of(security, forwarded_certificate=f"URI={name}")
        assert (principal.tenant, {*principal.scopes}) == expected


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "anonymous is refused": ({"auth.anonymous": False}, "no security scheme is set up"),
    "anonymous and a scheme": (
        {"auth.anonymous": True, "auth.token": "x" * 16},
        "choose one of them",
    ),
    "a short token": ({"auth.token": "short"}, "auth.token: .* 16 characters"),
    "unknown scheme": (
        {"auth.token": "x" * 16, "auth.require": "oidc"},
        "no security scheme 'oidc'",
    ),
    "unused scheme": (
        {"auth.token": "x" * 16, "auth.users": f"a={HASHED}", "auth.require": "token"},
        "nothing requires: basic",
    ),
    "required twice": (
        {"auth.token": "x" * 16, "auth.require": "token=desk:admin+token"},
        "auth.require: 'token=desk:admin.token' names 'token' twice",
    ),
    "nothing required": ({"auth.require": "token"}, "there are none"),
    "an empty holder": ({"auth.tokens": "=" + "x" * 16}, "auth.tokens: the name ''"),
    "a token twice": (
        {"auth.tokens": f"ada={'x' * 16},bob={'x' * 16}"},
        "auth.tokens: 'ada' and 'bob' hold the same token",
    ),
    "a token twice, once hashed": (
        {"auth.token": "x" * 16, "auth.tokens": f"bob=sha256:{sha256(b'x' * 16).hexdigest()}"},
        "hold the same token",
    ),
    "a holder twice": (
        {"auth.token": "x" * 16, "auth.tokens": f"token={'y' * 16}"},
        "auth.token and the one of auth.tokens called 'token'",
    ),
    "a digest that is none": ({"auth.token": "sha256:xyz"}, "auth.token: .*64 hexadecimal"),
    "scopes of no holder": (
        {"auth.token": "x" * 16, "auth.token_scopes": "ada=a"},
        "auth.token_scopes: there is no token of 'ada'; there are: 'token'",
    ),
    "scopes of no user": (
        {"auth.users": f"ada={HASHED}", "auth.user_scopes": "bob=a"},
        "auth.user_scopes: there is no user of 'bob'",
    ),
    "a scope that is none": (
        {"auth.users": f"ada={HASHED}", "auth.user_scopes": 'ada=a"b'},
        "auth.user_scopes: 'ada': .* is no scope",
    ),
    "a scope of certificates that is none": (
        {"auth.mtls": "direct", "auth.mtls_scopes": '*=a"b'},
        "auth.mtls_scopes: .* is no scope",
    ),
    "a password in plain text": (
        {"auth.users": "ada=secret"},
        "auth.users: the password of 'ada' is not hashed: write what `greenroom keys hash`",
    ),
    "no password": ({"auth.users": "ada="}, "auth.users: the password of 'ada' is not hashed"),
    "a hash that is none": ({"auth.users": "ada=scrypt:x"}, "auth.users: .* not a scrypt hash"),
    "a user that nobody can be": ({"auth.users": f"a:b={HASHED}"}, "auth.users: 'a:b'"),
    "a header that is none": (
        {"auth.keys_file": "/nowhere", "auth.key_name": "My Key"},
        "auth.key_name: 'My Key' cannot be the name of a header field",
    ),
    "a cookie that is none": (
        {"auth.keys_file": "/nowhere", "auth.key_name": "a;b", "auth.key_in": "cookie"},
        "auth.key_name: 'a;b' cannot be the name of a cookie",
    ),
    "a parameter that is none": (
        {"auth.keys_file": "/nowhere", "auth.key_name": "a&b", "auth.key_in": "query"},
        "auth.key_name: 'a&b' cannot be the name of a query parameter",
    ),
    "an audience of nobody": (
        {"auth.oidc_audience": "x"},
        "auth.oidc_audience is set, but without auth.oidc_issuer it means nothing",
    ),
    "a key's place without keys": ({"auth.key_in": "query"}, "without auth.keys_file"),
    "a secret for nobody": (
        {"auth.introspection_client_secret": "x"},
        "without auth.introspection_url",
    ),
    "an issuer of nobody's tokens": (
        {"auth.introspection_issuer": "x"},
        "without auth.introspection_url or auth.verifier",
    ),
    "patterns without mtls": ({"auth.mtls_allow": "x"}, "without auth.mtls it"),
    "claims without tokens": ({"auth.tenant_claim": "tid"}, "auth.tenant_claim is set, but"),
    "two who know": (
        {"auth.introspection_url": "https://a.example", "auth.verifier": "a:b"},
        "auth.verifier and auth.introspection_url: choose one",
    ),
    "tokens that nobody judges": (
        {"auth.oauth_token_url": "https://a.example/t"},
        "auth.oauth_token_url: say with auth.oauth_issuer and auth.oauth_audience",
    ),
    "an audience is missing": ({"auth.oidc_issuer": "https://a.example"}, "oidc_audience"),
    "plain http": (
        {"auth.oidc_issuer": "http://a.example", "auth.oidc_audience": "x"},
        "auth.oidc_issuer: .*must be an https",
    ),
    "symmetric": (
        {
            "auth.oidc_issuer": "https://a.example",
            "auth.oidc_audience": "x",
            "auth.algorithms": "HS256",
        },
        "cannot be used",
    ),
    "unknown operation": (
        {"auth.token": "x" * 16, "auth.operations": "Cancel=x"},
        "no operation Cancel",
    ),
    "scopes of nobody": ({"auth.operations": "CancelTask=x"}, "need a security scheme"),
    "no file of keys": (
        {"auth.keys_file": "/nowhere/keys.json"},
        "there is no file of API keys /nowhere/keys.json: make the first key with "
        "`greenroom keys create NAME --file /nowhere/keys.json`",
    ),
    "a folder of keys": (
        {"auth.keys_file": "/"},
        "the file of API keys / cannot be read .*: it must be a file",
    ),
    "no folder for the audit": (
        {"auth.audit_file": "/nowhere/audit.jsonl"},
        "auth.audit_file: /nowhere/audit.jsonl cannot be opened",
    ),
    "no key to sign with": (
        {"auth.signing_keys": "/nowhere/card.pem"},
        "auth.signing_keys: /nowhere/card.pem cannot be read",
    ),
    "mtls without authorities": ({"auth.mtls": "direct"}, "client_ca"),
    "mtls behind anybody": (
        {"auth.mtls": "forwarded", "http.trusted_proxies": "*"},
        "trusted_proxies",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_start(name: str) -> None:
    overrides, why = WRONG[name]
    settings: Settings = load(overrides=overrides)
    with pytest.raises(ValueError, match=why):
        check_transport(secure(settings.auth), settings)


def test_an_agent_that_is_not_there() -> None:
    from greenroom import asgi

    agent = Agent("Desk")
    agent.handler(lambda ctx: "hi")
    settings = load(overrides={"auth.token": "x" * 16, "auth.agents": "dusk=x"})
    with pytest.raises(ValueError, match="no agent 'dusk'"):
        asgi(agent, security=secure(settings.auth))


def test_keys_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "keys.json")
    create = ["keys", "create", "ada", "--scope", "a", "--scope", "b", "--tenant", "acme"]
    assert main([*create, "--expires", "2h", "--file", file]) == 0
    text = capsys.readouterr().out.strip()
    assert text not in Path(file).read_text()
    security = secure(load(overrides={"auth.keys_file": file}).auth)
    call = Call(binding="TEST", headers={"x-api-key": text})
    assert security.authenticator is not None
    principal = security.authenticator.known(call, time.time())
    assert principal is not None
    assert (principal.subject, principal.tenant, principal.scopes) == (
        "ada",
        "acme",
        frozenset({"a", "b"}),
    )
    assert security.authenticator.known(call, time.time() + 7300) is None

    assert main(["keys", "list", "--file", file]) == 0
    listed = capsys.readouterr().out
    assert "ada tenant=acme scopes=a,b" in listed
    assert text.rpartition("_")[2] not in listed
    key = KeyFile(file).read()[0]
    assert main(["keys", "revoke", key.id, "--file", file]) == 0
    assert main(["keys", "revoke", "nobody", "--file", file]) == 2
    assert main(["keys", "list", "--file", file]) == 0
    assert "revoked" in capsys.readouterr().out
    for wrong in ("soon", "0d", "-1d", "99999999999d"):
        assert main([*create, f"--expires={wrong}", "--file", file]) == 2
        assert "--expires" in capsys.readouterr().err
    for wrong in ("", "  ", "ada\n", "a" * 600):
        assert main(["keys", "create", wrong, "--file", file]) == 2
        assert "the owner" in capsys.readouterr().err
    assert main(["keys", "create", "ada", "--tenant", "a\tb", "--file", file]) == 2
    assert main(["keys", "create", "ada", "--scope", "a b", "--file", file]) == 2
    assert "is no scope" in capsys.readouterr().err
    assert len(json.loads(Path(file).read_text())) == 1
    Path(file).write_text("no JSON")
    assert main(["keys", "list", "--file", file]) == 2


def test_no_password_is_not_hashed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for text, code in (("secret\n", 0), ("\n", 2), ("", 2)):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert main(["keys", "hash"]) == code
        shown = capsys.readouterr()
        assert shown.out.startswith("scrypt:") is (code == 0)
        assert ("no password" in shown.err) is (code == 2)


def test_schemes_of_one_name() -> None:
    from greenroom.auth import static_tokens

    one = static_tokens("x" * 16)
    with pytest.raises(ValueError, match="same name"):
        Security(one, one)
    with pytest.raises(ValueError, match="names no scheme"):
        Security(one, require=[{}])


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        (["--host", "127.0.0.1"], "info"),
        (["--host", "0.0.0.0"], "warning"),
        (["--host", "127.0.0.1", "--public-url", "https://agents.example.com"], "warning"),
        (["--host", "127.0.0.1", "--set", "http.trusted_proxies=127.0.0.1"], "warning"),
    ],
)
def test_anonymous_mode_says_so_in_the_log(arguments: list[str], level: str) -> None:
    with as_process("--store", "memory://", *arguments) as server:
        server.stop()
    lines = [json.loads(line) for line in server.log.splitlines()]
    told = [line for line in lines if line.get("event") == "anonymous"]
    assert [line["level"] for line in told] == [level]
    assert "anonymous mode" in told[0]["message"]
    assert "auth.anonymous = false" in told[0]["message"]


# --- what is not installed ----------------------------------------------------------------------

UNINSTALLED = """
import sys
for name in ("jwt", "cryptography"):
    sys.modules[name] = None  # as if it were not there
from greenroom.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
NEEDS_MORE: dict[str, list[str]] = {
    "oidc": ["auth.oidc_issuer=https://login.example", "auth.oidc_audience=agents"],
    "oauth2": [
        "auth.oauth_token_url=https://login.example/token",
        "auth.oauth_issuer=https://login.example",
        "auth.oauth_audience=agents",
    ],
    "mtls": ["auth.mtls=forwarded", "http.trusted_proxies=10.0.0.7"],
    "signed cards": [f"auth.signing_keys={__file__}"],
}


def without_extras(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", UNINSTALLED, *words],
        capture_output=True, text=True, check=False, env=environment(), timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", NEEDS_MORE)
def test_the_extra_is_asked_for_at_the_start(name: str) -> None:
    given = [word for setting in NEEDS_MORE[name] for word in ("--set", setting)]
    agent = str(ROOT / "examples" / "echo.py:agent")
    code, told = without_extras("serve", agent, "--store", "memory://", "--port", "0", *given)
    assert (code, told.count("\n")) == (2, 1), told
    assert "pip install 'greenroom[auth]'" in told


def test_the_extra_is_asked_for_by_commands(tmp_path: Path) -> None:
    file, key = tmp_path / "card.json", tmp_path / "key.pem"
    file.write_bytes(card_json(card(), "1.0"))
    key.write_bytes(b"")
    for action in ("sign", "verify"):
        code, told = without_extras("card", action, str(file), "--key", str(key))
        assert code == 2
        assert "pip install 'greenroom[auth]'" in told
