"""A secret that was written in the wrong place is not shown by the error that refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenroom.cli.main import main
from greenroom.settings.security import secure
from greenroom.settings.settings import load

SECRET = "hunter2-hunter2-hunter2"

SETTINGS = [
    "auth.tokens={}",
    "auth.tokens={}=",
    "auth.tokens={}=short",
    "auth.tokens={}==",
    "auth.tokens=ada={},bob={}",
    "auth.tokens=ada=sha256:{}",
    "auth.token=sha256:{}",
    "auth.tokens={}=0123456789abcdef,bob=0123456789abcdef",
    "auth.token {}",
    "auth.token {}=",
    "auth.token{}=x",
    "auth.token.{}=x",
    "auth.tokens.{}=x",
    "auth.users={}",
    "auth.users=ada={}",
    "auth.users={}=x",
    "auth.users=ada:{}=x",
    "auth.users=ada=scrypt:{}",
    "auth.oauth_client_secret{}=x",
    "auth.leeway={}",
    "auth.key_in={}",
    "auth.mtls={}",
    "auth.oauth_client_auth={}",
    "auth.anonymous={}",
    "auth.token_scopes={}",
    "auth.token_tenants={}",
    "public_url={}",
    "{}",
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_command_line(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "examples/echo.py:agent", "--set", setting.replace("{}", SECRET)]) == 2
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err
    assert shown.err.startswith("greenroom: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "x.py:agent", f"--auth-token={SECRET}"],
        ["serve", "x.py:agent", "--auth-token", SECRET],
        ["keys", "hash", SECRET],
        ["keys", "hash", "--password", SECRET],
    ],
)
def test_arguments_that_no_command_has(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert SECRET not in capsys.readouterr().err


def test_a_header_without_a_colon(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", "http://127.0.0.1:1", "hi", "--header", SECRET]) == 2
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GREENROOM_AUTH_TOKENS", SECRET),
        ("GREENROOM_AUTH_TOKENS", f"{SECRET}="),
        ("GREENROOM_AUTH_TOKENS", f"{SECRET}=x"),
        ("GREENROOM_AUTH_USERS", f"ada:{SECRET}"),
        ("GREENROOM_AUTH_USERS", f"ada={SECRET}"),
        ("GREENROOM_AUTH_KEY_IN", SECRET),
        (f"GREENROOM_AUTH_TOKEN_{SECRET}", "x"),
        (f"GREENROOM_AUTH_TOKEN={SECRET}", "x"),
    ],
)
def test_the_environment(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"AUTH|auth") as raised:
        secure(load(environ={variable: value}).auth)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        f'[greenroom.auth]\ntokens = "{SECRET}"',
        f'[greenroom.auth]\ntokens = ["{SECRET}"]',
        f'[greenroom.auth.tokens]\n"{SECRET}" = "x"',
        f'[greenroom.auth.tokens]\n"{SECRET}" = 1',
        f'[greenroom.auth.tokens]\nada.{SECRET} = "x"',
        f'[greenroom.auth.users]\n"ada:{SECRET}" = "x"',
        f'[greenroom.auth.token."{SECRET}"]\n[greenroom.auth.token."{SECRET}"]',
        f"[greenroom.auth]\ntoken = {SECRET}",
        f'[greenroom.auth]\n"token{SECRET}" = 1',
        f'[greenroom.auth]\nkey_in = "{SECRET}"',
        f'[greenroom]\nauth = "{SECRET}"',
    ],
)
def test_a_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "greenroom.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"auth|TOML") as raised:
        secure(load(config=str(file)).auth)
    assert SECRET not in str(raised.value)
