"""Commands that talk to servers which ask who is there before anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from cryptography.hazmat.primitives import serialization

from greenroom.auth import MutualTls, Security
from greenroom.cli.main import main
from tests.protocol.cards.test_signing import KEYS, pem
from tests.runtime.security.serving import serving
from tests.support.agents import desk
from tests.support.certificates import Authority
from tests.support.clock import on_asyncio

__all__ = ["on_asyncio"]

pytestmark = pytest.mark.anyio
KEY = KEYS["ES256"]


def written(file: Path, *others: Path) -> None:
    file.write_bytes(b"".join(one.read_bytes() for one in others))


async def test_a_client_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.files("ada@example.org")
    both, trusted = tmp_path / "both.pem", tmp_path / "trusted.pem"
    written(both, Path(cert), Path(key))
    trusted.write_bytes(pem(KEY.private))
    security = Security(MutualTls(identity="email"), signing=[KEY])
    # Nothing is sent where the card leads, so it may lead anywhere.
    public_url = "https://agents.example.com"

    async def ask(*words: str) -> tuple[int, str, str]:
        code = await anyio.to_thread.run_sync(main, list(words))
        return code, *capsys.readouterr()

    listen = authority.listen()
    async with serving(Security(MutualTls(identity="email")), listen=listen) as server:
        ca = ("--ca", authority.ca)
        for shown in (("--cert", cert, "--key", key), ("--cert", str(both))):
            code, out, _ = await ask("send", server.url, "whoami", *ca, *shown)
            assert (code, out) == (0, "|mtls#ada@example.org\n")
        code, _, told = await ask("send", server.url, "ask", *ca, "--cert", cert, "--key", key)
        assert code == 4
        assert f"--ca {authority.ca} --cert {cert} --key {key} --task" in told
        code, out, _ = await ask("card", "show", server.url, *ca, "--cert", str(both))
        assert code == 0
        assert "mtls" in json.loads(out)["securitySchemes"]
        for command in (("send", server.url, "x"), ("card", "show", server.url)):
            code, _, told = await ask(*command, *ca)
            assert (code, "--cert FILE" in told) == (3, True), told
            code, _, told = await ask(*command, "--cert", str(both))
            assert (code, "not trusted" in told) == (3, True)
    async with serving(
        security, desk(), listen=listen, public_url=public_url, with_grpc=False
    ) as server:
        tls = (*ca, "--cert", cert, "--cert-key", key)
        for trust in (
            ("--key", str(trusted)),
            ("--jwks", f"{server.url}/.well-known/jwks.json"),
        ):
            code, out, told = await ask("card", "verify", server.url, *tls, *trust)
            assert (code, KEY.kid in out) == (0, True), told


WRONG: dict[str, tuple[list[str], str]] = {
    "no such authorities": (["--ca", "nowhere.pem"], "--ca nowhere.pem: "),
    "no such certificate": (["--cert", "nowhere.pem"], "nowhere.pem cannot be used: "),
    "a certificate without its key": (["--cert", "CERT"], "cannot be used: "),
    "a key without its certificate": (["KEY", "key.pem"], "needs its certificate: --cert FILE"),
    "an encrypted key": (["--cert", "CERT", "KEY", "LOCKED"], "its key is encrypted"),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_cannot_be_used(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.files("ada@example.org")
    private: Any = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    words, why = WRONG[name]
    send, show = ["send", "https://x", "hi"], ["card", "show", "https://x"]
    for command, flag in ((send, "--key"), (show, "--cert-key")):
        files = {"CERT": cert, "LOCKED": str(locked), "KEY": flag}
        assert main([*command, *(files.get(word, word) for word in words)]) == 2
        assert why in capsys.readouterr().err
