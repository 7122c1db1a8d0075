"""API keys: made by ``greenroom keys``, kept as hashes in a file, re-read when the file changes."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, structs

from ....protocol.protojson import unmarked
from ....protocol.types import APIKeySecurityScheme, SecurityScheme
from ... import files
from ...call import Call, Principal
from .bearer import REALM
from .credential_cache import digest
from .ports import InvalidCredential, UnknownCredential, challenge, identify

log = logging.getLogger("greenroom.security")
Location = Literal["header", "query", "cookie"]
LOOK_EVERY = 1.0
"""Seconds between looks at the file: a revoked key works no longer than this."""


class ApiKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key. ``digest`` is the SHA-256 (hex) of the text that its owner holds."""

    id: str
    digest: str
    owner: str
    tenant: str = ""
    scopes: tuple[str, ...] = ()
    created: float = 0.0
    expires: float | None = None
    revoked: float | None = None

    def usable(self, now: float) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)


def new_key(
    owner: str,
    *,
    now: float,
    tenant: str = "",
    scopes: Sequence[str] = (),
    lifetime: float | None = None,
) -> tuple[ApiKey, str]:
    """Return a key and the text to hand to its owner, which is nowhere else."""
    id_ = secrets.token_hex(4)
    text = f"grk_{id_}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        id=id_,
        digest=digest_of(text),
        owner=owner,
        tenant=tenant,
        scopes=tuple(scopes),
        created=now,
        expires=None if lifetime is None else now + lifetime,
    )
    return key, text


def digest_of(text: str) -> str:
    """Keys are long and random, so one round of SHA-256 is as good as a slow hash."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class KeyFile:
    """The file; changed by one at a time and replaced whole. A new one is for its user only, a
    changed one for whom it was: where that cannot be, ``add`` and ``revoke`` raise OSError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def read(self) -> list[ApiKey]:
        """Return all keys, revoked ones too; none where there is no file."""
        try:
            return self._decoded(self.path.read_bytes())
        except FileNotFoundError:
            return []

    def add(self, key: ApiKey) -> None:
        with self._changing() as keys:
            keys.append(key)

    def revoke(self, id_: str, now: float) -> ApiKey | None:
        """Revoke and return the key; ``None``: there is none of that id."""
        with self._changing() as keys:
            for index, key in enumerate(keys):
                if key.id == id_:
                    keys[index] = structs.replace(key, revoked=key.revoked or now)
                    return keys[index]
        return None

    @contextmanager
    def _changing(self) -> Generator[list[ApiKey], None, None]:
        lock = files.open_lock(f"{self.path}.lock")
        try:
            files.lock(lock, wait=True)
            try:
                data, before = files.read(self.path)
            except FileNotFoundError:
                data, before = b"[]", None
            keys = self._decoded(data)
            yield keys
            text = msgspec.json.format(msgspec.json.encode(keys), indent=1) + b"\n"
            files.replace(self.path, text, before)
        finally:
            os.close(lock)

    def _decoded(self, data: bytes) -> list[ApiKey]:
        try:
            return msgspec.json.decode(unmarked(data), type=list[ApiKey])
        except msgspec.DecodeError as error:
            raise ValueError(f"{self.path} is not a file of API keys: {error}") from None


def _present(file: KeyFile) -> list[ApiKey]:
    path = file.path
    if not path.exists():
        raise ValueError(
            f"there is no file of API keys {path}: make the first key with "
            f"`greenroom keys create NAME --file {path}`"
        )
    try:
        return file.read()
    except OSError as error:
        raise ValueError(
            f"the file of API keys {path} cannot be read ({error.strerror}): it must be a file "
            "that the user whom the server runs as may read"
        ) from None


class ApiKeys:
    """API keys in a header, a query parameter or a cookie."""

    def __init__(
        self,
        keys: str | Path | Iterable[ApiKey],
        *,
        name: str = "apiKey",
        field: str = "X-API-Key",
        location: Location = "header",
    ) -> None:
        """``keys`` is the path of a file that ``greenroom keys`` made, or the keys themselves;
        ``field`` the name of the header field, parameter or cookie. Raises ValueError for a file
        that is not there or cannot be read: the server would refuse everybody, and the first
        caller would be the one to find out."""
        self.name = name
        self.card = SecurityScheme(
            api_key_security_scheme=APIKeySecurityScheme(location=location, name=field)
        )
        self._field = field.lower() if location == "header" else field
        self._location = location
        self._file = KeyFile(keys) if isinstance(keys, (str, Path)) else None
        self._keys: dict[str, tuple[ApiKey, Principal]] = {}
        self._state: object = ()  # not that of a file that is gone
        self._failed: object = ()
        self._looked = -LOOK_EVERY
        self._take(_present(self._file) if self._file else keys)  # type: ignore[arg-type]

    def _take(self, keys: Iterable[ApiKey]) -> None:
        self._keys = {key.digest: (key, self._principal(key)) for key in keys}

    def _principal(self, key: ApiKey) -> Principal:
        return identify(
            scheme=self.name,
            issuer=self.name,
            subject=key.owner,
            tenant=key.tenant,
            scopes=key.scopes,
            claims={"key": key.id},
            expires=key.expires,
        )

    def _text(self, call: Call) -> str | None:
        if self._location == "header":
            return call.headers.get(self._field)
        if self._location == "query":
            return call.query.get(self._field)
        sites = (call.headers.get("sec-fetch-site") or "").lower().split(",")
        if any(site.strip() == "cross-site" for site in sites):
            return None  # a browser sends it whoever's page asked
        cookies = self._cookies(call)
        return cookies[0] if cookies else None

    def _cookies(self, call: Call) -> list[str]:
        # By hand: SimpleCookie sees none of them where one, whoever set it, is not to its taste.
        pairs = [one.strip().partition("=") for one in call.headers.get("cookie", "").split(";")]
        return [value.strip('"') for name, _, value in pairs if name == self._field]

    def _ambiguous(self, call: Call) -> bool:
        """Whether a caller shows more than one key: two readers could each take another one."""
        if self._location == "query":
            return self._field in call.repeated
        return self._location == "cookie" and len(set(self._cookies(call))) > 1

    def known(self, call: Call, now: float) -> Principal | None:
        """Keys are all known: looking one up is a hash."""
        text = self._text(call)
        if text is None or (self._location != "header" and self._ambiguous(call)):
            return None
        if self._file is not None and not 0 <= time.monotonic() - self._looked < LOOK_EVERY:
            self._look()
        entry = self._keys.get(digest_of(text))
        return entry[1] if entry is not None and entry[0].usable(now) else None

    def credential(self, call: Call) -> bytes | None:
        text = self._text(call)
        return None if text is None else digest(text)

    async def verify(self, call: Call, now: float) -> Principal | None:
        text = self._text(call)
        if text is None:
            return None
        principal = self.known(call, now)
        if principal is not None:
            return principal
        if self._ambiguous(call):
            raise InvalidCredential(f"there is more than one API key in the {self._location}")
        entry = self._keys.get(digest_of(text))
        if entry is None:
            raise UnknownCredential("the API key is not known here")
        raise InvalidCredential(
            "the API key was revoked" if entry[0].revoked else "the API key has expired"
        )

    def _look(self) -> None:
        """A small local file: to look at it takes microseconds, once a second."""
        assert self._file is not None
        self._looked = time.monotonic()
        try:
            status = self._file.path.stat()
            state: object = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
        except OSError:
            state = None
        if state == self._state:
            return
        try:
            self._take(self._file.read())
        except (OSError, ValueError, InvalidCredential) as error:
            # No caller can help it, and one bad edit shall not lock everybody out. What keeps it
            # from being read may pass without a trace on the file: it is tried again.
            if state != self._failed:
                log.error("the API keys stay as they were: %s: %s", self._file.path, error)
            self._failed = state
        else:
            self._state, self._failed = state, ()

    def challenge(self, error: str | None) -> str:
        return challenge("ApiKey", REALM, error, name=self._field, location=self._location)
