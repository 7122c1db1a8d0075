"""The key ring that encrypts push configurations in the store: AES-256-GCM of ``cryptography``.

What is encrypted begins with the name of its key, so that keys can change: the first of the ring
encrypts, every one of it decrypts. `greenroom push rekey` encrypts all anew with the first.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from .runtime.push.ports import NoVault, SealError, Vault

_FORM = b"\1"
_NONCE = 12
_NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")


class KeyRing:
    """A ``Vault`` of named keys of 32 bytes."""

    def __init__(self, keys: Sequence[str]) -> None:
        """``keys`` are written ``name=base64``. Raises ValueError."""
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ValueError(
                "push.keys needs cryptography: pip install 'greenroom[auth]'"
            ) from None
        self._damaged = InvalidTag
        self._ciphers: dict[bytes, Any] = {}
        for number, text in enumerate(keys, 1):
            name, _, key = text.partition("=")
            raw = _key(key)
            if not _NAME.fullmatch(name) or raw is None:
                raise ValueError(
                    f"push.keys: number {number} is not written name=base64 of 32 bytes; "
                    "`greenroom push key` makes one"
                )
            self._ciphers[name.encode()] = AESGCM(raw)
        self._first = next(iter(self._ciphers))
        self._plain = NoVault()

    def seal(self, plain: bytes, bound: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        sealed: bytes = self._ciphers[self._first].encrypt(nonce, plain, bound)
        return _FORM + self._first + b"=" + nonce + sealed

    def unseal(self, sealed: bytes, bound: bytes) -> bytes:
        if not sealed.startswith(_FORM):  # written before there was a key ring
            return self._plain.unseal(sealed, bound)
        name, _, rest = sealed[1:].partition(b"=")
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise SealError(f"push.keys has no key {name.decode(errors='replace')!r}")
        try:
            plain: bytes = cipher.decrypt(rest[:_NONCE], rest[_NONCE:], bound)
        except (self._damaged, ValueError):
            raise SealError("the configuration was changed in the store") from None
        return plain


def vault_of(keys: Sequence[str]) -> Vault:
    """Return what encrypts with ``keys``; nothing does if there are none."""
    return KeyRing(keys) if keys else NoVault()


def new_key(name: str) -> str:
    """Make a key of the ring, as it is written in the settings."""
    return f"{name}={b64encode(os.urandom(32)).decode()}"


def _key(text: str) -> bytes | None:
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        return None
    return raw if len(raw) == 32 else None
