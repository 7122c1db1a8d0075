"""The registry of codecs: which one reads and writes a negotiated version."""

from __future__ import annotations

from .codec import HTTP_JSON, JSONRPC, Codec
from .v03 import V03 as LEGACY
from .v03 import V03_REST as LEGACY_REST
from .v03 import V03_REST_TEXT as LEGACY_REST_TEXT
from .v1 import V1
from .version import V03, V10, V11

_CODECS: dict[str, Codec] = {V10: V1(V10), V11: V1(V11), V03: LEGACY}


def codec_for(version: str, binding: str = JSONRPC, text: bool = False) -> Codec:
    """Return the codec of a negotiated version (see ``version.negotiate``).

    ``binding`` and ``text`` matter in 0.3 only, whose HTTP+JSON form is another JSON than its
    JSON-RPC form. ``text``: what ``v03.parts.puts_text_in_bytes`` says of the caller.
    """
    if version == V03 and binding == HTTP_JSON:
        return LEGACY_REST_TEXT if text else LEGACY_REST
    return _CODECS[version]
