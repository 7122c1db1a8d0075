"""The registry of protobuf codecs: which one reads and writes a negotiated version."""

from __future__ import annotations

from ..version import V03, V10, V11
from .codec import ProtobufCodec, V1Codec
from .legacy import V03 as LEGACY
from .legacy import V03_TEXT as LEGACY_TEXT
from .v1 import V1_0, V1_1

_CODECS: dict[str, ProtobufCodec] = {
    V10: V1Codec(V10, V1_0),
    V11: V1Codec(V11, V1_1),
    V03: LEGACY,
}


def protobuf_codec(version: str, text: bool = False) -> ProtobufCodec:
    """Return the codec of a negotiated version (see ``version.negotiate``).

    ``text`` matters in 0.3 only: what ``v03.parts.puts_text_in_bytes`` says of the caller.
    """
    return LEGACY_TEXT if text and version == V03 else _CODECS[version]
