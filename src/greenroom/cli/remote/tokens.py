"""Tokens that ``auth login`` got, in a file that only its owner may read, by origin."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from ...transports.client.urls import origin_of


class Stored(Struct, frozen=True):
    """A bearer token, and when it was obtained (seconds since the epoch)."""

    token: str
    at: float


def path() -> Path:
    """Return where the tokens are."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "greenroom" / "tokens.json"


def load(url: str) -> str | None:
    """Return the token for the origin of ``url``. Raises ValueError where the file is broken."""
    stored = _read().get(str(origin_of(url)))
    return None if stored is None else stored.token


def save(url: str, token: str) -> None:
    """Keep the token for the origin of ``url``. Raises OSError and ValueError."""
    tokens = _read() | {str(origin_of(url)): Stored(token, time.time())}
    file = path()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(msgspec.json.encode(tokens))
    new.replace(file)


def _read() -> dict[str, Stored]:
    try:
        return msgspec.json.decode(path().read_bytes(), type=dict[str, Stored])
    except FileNotFoundError:
        return {}
    except msgspec.MsgspecError:
        raise ValueError(f"{path()} is broken: delete it, and log in again") from None
