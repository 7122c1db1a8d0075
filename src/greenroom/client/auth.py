"""The forms in which ``Client`` takes credentials."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from ..transports.client.auth.credential import Credential
from ..transports.client.auth.static import Callback, Proof

Auth = (
    Credential
    | Callable[[], Proof | Awaitable[Proof]]
    | Sequence[Credential]
    | Mapping[str, Credential]
)
"""A credential, several, several by the names of the card's schemes, or a function."""


def credentials_of(auth: Auth | None) -> Sequence[Credential] | Mapping[str, Credential]:
    """Return the credentials that ``auth`` stands for."""
    if auth is None:
        return ()
    if isinstance(auth, Mapping | Sequence):
        return auth
    if hasattr(auth, "bind"):
        return (cast("Credential", auth),)
    return (Callback(auth),)  # pyright: ignore[reportArgumentType]: `bind` tells the two apart
