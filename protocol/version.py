"""Protocol versions: which ones are served, and which one a request asks for (section 3.6)."""

from __future__ import annotations

import re

from .errors import VersionNotSupportedError

V03 = "0.3"
V10 = "1.0"
V11 = "1.1"
SUPPORTED = (V03, V10, V11)
HEADER = "A2A-Version"
"""Name of the service parameter: an HTTP header field, a query parameter, gRPC metadata."""

_SHAPE = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?")
# 0.2 clients send nothing; one that does is served by the 0.3 codec, which reads both.
_NEGOTIATED = {"": V03, "0.2": V03} | {version: version for version in SUPPORTED}


def negotiate(value: str | None) -> str:
    """Return the supported version a request asked for with ``A2A-Version``.

    Absent and empty mean 0.3 (section 3.6.2); the patch number does not take part.
    Raises VersionNotSupportedError for anything else.
    """
    asked = value or ""
    served = _NEGOTIATED.get(asked)
    if served is not None:
        return served
    asked = asked.strip()
    served = _NEGOTIATED.get(asked)
    if served is None and (shape := _SHAPE.fullmatch(asked)):
        served = _NEGOTIATED.get(f"{shape[1]}.{shape[2]}")
    if served is None:
        raise VersionNotSupportedError(
            f"Protocol version {asked[:32]!r} is not supported; send {HEADER}: "
            f"{', '.join(SUPPORTED)}",
            supportedVersions=",".join(SUPPORTED),
        )
    return served
