"""Modes: the media types that an agent takes and gives, and those of the parts of a message.

Section 4.4.1 wants media types. Cards of 0.2 and 0.3 often have the kinds of their parts instead,
``text``, ``file`` and ``data``: an agent may be declared so, and its card says what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import UNSET

from ..protocol.types import Part

_KINDS = {"text": "text/plain", "data": "application/json", "file": "application/octet-stream"}
_ANY = ("*/*", "*")
# RFC 9110 section 8.3.1: two tokens, and parameters that are not looked at; with wildcards.
_TOKEN = r"[!#$%&'+.^_`|~0-9A-Za-z-]+"
_MODE = re.compile(rf"(?:\*|\*/\*|{_TOKEN}/(?:\*|{_TOKEN}))\s*(?:;.*)?", re.ASCII)


def checked(modes: Sequence[str], of: str) -> list[str]:
    """Return ``modes`` as a list; ``of`` names them in errors.

    Raises TypeError or ValueError, which say what to write, for what is no list of media types.
    """
    if isinstance(modes, str | bytes):
        raise TypeError(f"{of} is a list of media types, as in [{modes!r}], not one text")
    listed = list(modes)
    if not listed:
        raise ValueError(f"{of} has at least one media type, as in ['text/plain']")
    for mode in listed:
        if not isinstance(mode, str):
            raise TypeError(f"{of} is a list of texts, and {mode!r} is none")
        if mode.strip().lower() not in _KINDS and not _MODE.fullmatch(mode.strip()):
            raise ValueError(
                f"{of} has {mode!r}, which is no media type: write one such as 'text/plain', "
                "'image/*' or '*/*', or 'text', 'file' or 'data' as cards of 0.2 do"
            )
    return listed


def written(modes: Sequence[str]) -> list[str]:
    """Return modes as a card has them: each once, and media types for the kinds of parts."""
    return list(dict.fromkeys(_KINDS.get(mode.strip().lower(), mode.strip()) for mode in modes))


def media_types(parts: Sequence[Part]) -> list[str]:
    """Return the media types of parts: as written, else what the kind of part implies.

    A file without a media type says nothing and gives none.
    """
    types: list[str] = []
    for part in parts:
        if part.media_type:
            types.append(part.media_type)
        elif part.text is not None:
            types.append("text/plain")
        elif part.data is not UNSET:
            types.append("application/json")
    return types


def accepts(modes: Sequence[str], media_type: str) -> bool:
    """Return whether ``modes`` contain a media type; parameters and the case do not matter.

    ``text`` stands for every text, ``data`` for JSON of every kind, ``file`` for all else.
    """
    if media_type in modes:  # as it is in nearly every message
        return True
    wanted = _bare(media_type)
    wanted = _KINDS.get(wanted, wanted)
    text, data = wanted.startswith("text/"), wanted.endswith(("/json", "+json"))
    for mode in modes:
        offered = _bare(mode)
        if offered in _ANY or offered == wanted:
            return True
        if offered.endswith("/*") and wanted.startswith(offered[:-1]):
            return True
        if (offered == "text" and text) or (offered == "data" and data):
            return True
        if offered == "file" and wanted not in ("text/plain", "application/json"):
            return True
    return False


def _bare(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


__all__ = ["accepts", "checked", "media_types", "written"]
