"""Security from settings: files, variables, the command line of keys; what does not start."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from greenroom import Agent, Settings
from greenroom.auth import Call, Security
from greenroom.cli import main
from greenroom.protocol.cards import card_json
from greenroom.runtime.auth.combination import Combination
from greenroom.runtime.auth.keys import KeyFile
from greenroom.securing import check_transport, secure
from greenroom.settings import load
from tests.e2e.process import ROOT, Server, environment

from .test_signing import card

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
    assert secure(load(environ={"AUTH_TOKEN": ""}).auth).anonymous


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "anonymous is refused": ({"auth.anonymous": False}, "no security scheme is set up"),
    "anonymous and a scheme": (
        {"auth.anonymous": True, "auth.token": "x" * 16},
        "choose one of them",
    ),
    "a short token": ({"auth.token": "short"}, "16 characters"),
    "unknown scheme": (
        {"auth.token": "x" * 16, "auth.require": "oidc"},
        "no security scheme 'oidc'",
    ),
    "unused scheme": (
        {"auth.token": "x" * 16, "auth.users": "a=b", "auth.require": "token"},
        "nothing requires: basic",
    ),
    "nothing required": ({"auth.require": "token"}, "there are none"),
    "an audience is missing": ({"auth.oidc_issuer": "https://a.example"}, "oidc_audience"),
    "plain http": (
        {"auth.oidc_issuer": "http://a.example", "auth.oidc_audience": "x"},
        "must be an https",
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
    found = security.authenticator.known(call, time.time())
    assert found is not None
    assert (found.subject, found.tenant, found.scopes) == ("ada", "acme", frozenset({"a", "b"}))
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
    assert main([*create, "--expires", "soon", "--file", file]) == 2
    assert len(json.loads(Path(file).read_text())) == 1
    Path(file).write_text("no JSON")
    assert main(["keys", "list", "--file", file]) == 2


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
    with Server("--store", "memory://", *arguments) as server:
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
from greenroom.cli import main
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
