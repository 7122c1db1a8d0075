"""Parts of 0.3 and of 1.0, and what one can say that the other cannot.

1.0 parts say more; what 0.3 has no member for travels in the part's metadata, and is taken out of
it again on the way back:

- ``data`` that is not an object is sent as ``{"value": …}`` with ``data_part_compat: true`` (the
  convention of the official SDK's own compatibility layer);
- ``filename`` and ``mediaType`` of text and data parts go into an object ``part_compat``, but for
  a media type that such a part has anyway.

The bytes of a file are read as the form says, once: base64 in JSON, bytes in protobuf. One family
of clients, the official Python SDK, puts base64 *text* into the bytes field of the proto form, and
reads text there. No content tells that text from a file that looks like base64, so the codec goes
by the user agent of the caller (``puts_text_in_bytes``).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from .. import types as t
from ..errors import InvalidParamsError
from . import types as w

VALUE = "data_part_compat"
EXTRAS = "part_compat"
_KINDS = {None, "text", "file", "data"}


_PUT_TEXT_IN_BYTES = ("python-httpx/", "grpc-python")


def puts_text_in_bytes(user_agent: str) -> bool:
    """Return whether a caller puts base64 text into the bytes of files in 0.3's proto form.

    The official Python SDK does, over HTTP+JSON and gRPC, and expects the same of answers. The SDKs
    for other languages send the bytes, as the specification says.
    """
    return user_agent.startswith(_PUT_TEXT_IN_BYTES)


def read(part: w.Part, where: str, index: int) -> t.Part:
    """Return the 1.0 part; ``where`` and ``index`` name it in errors."""
    if part.raw is not None or part.url is not None:
        return _read_current(part, f"{where}[{index}]")
    text, file, data, kind = part.text, part.file, part.data, part.kind
    if (text is not None) + (file is not None) + (data is not None) != 1 or kind not in _KINDS:
        raise InvalidParamsError(
            "A part has a kind (text, file or data) and the one member of that name",
            field=f"{where}[{index}]",
        )
    if kind is not None and getattr(part, kind) is None:
        raise InvalidParamsError(
            f"A part of kind {kind!r} needs the member {kind!r}", field=f"{where}[{index}].{kind}"
        )
    metadata = part.metadata
    if file is not None:
        return _read_file(file, metadata, f"{where}[{index}].file")
    filename, media_type = part.filename or None, part.media_type or None
    value: Any = UNSET
    if data is not None:
        # Proto: DataPart is a message with one member of the same name.
        proto = kind is None and len(data) == 1 and isinstance(data.get("data"), dict)
        value = data["data"] if proto else data
    if metadata is not None and (VALUE in metadata or EXTRAS in metadata):
        metadata = dict(metadata)
        if data is not None and metadata.get(VALUE) is True and value.keys() == {"value"}:
            del metadata[VALUE]
            value = value["value"]
        extras = metadata.get(EXTRAS)
        if isinstance(extras, dict):
            del metadata[EXTRAS]
            filename = _text(extras.get("filename")) or filename
            media_type = _text(extras.get("mediaType")) or media_type
        metadata = metadata or None
    return t.Part(
        text=text, data=value, metadata=metadata, filename=filename, media_type=media_type
    )


def _read_current(part: w.Part, where: str) -> t.Part:
    """Read a file as 1.0 writes it, without ``kind`` or with the kind of a file."""
    members = (part.text, part.file, part.data, part.raw, part.url)
    if sum(member is not None for member in members) != 1 or part.kind not in (None, "file"):
        raise InvalidParamsError("A file has either bytes or a uri, and nothing else", field=where)
    return t.Part(
        raw=part.raw,
        url=part.url,
        metadata=part.metadata,
        filename=part.filename or None,
        media_type=part.media_type or None,
    )


def _read_file(file: w.File, metadata: dict[str, t.JSON] | None, where: str) -> t.Part:
    content = {one for one in (file.raw, file.file_with_bytes, file.data) if one is not None}
    links = {one for one in (file.uri, file.file_with_uri) if one is not None}
    if len(content) + len(links) != 1:  # under two names it may say the same
        raise InvalidParamsError("A file has either bytes or a uri", field=where)
    return t.Part(
        raw=next(iter(content), None),
        url=next(iter(links), None),
        metadata=metadata,
        filename=file.name or file.filename or None,
        media_type=file.mime_type or file.media_type or None,
    )


def decode_text(message: t.Message) -> t.Message:
    """Return a message whose files hold base64 text with the bytes that the text stands for.

    The codec calls this function only for callers that are known to send files so.
    """
    if all(part.raw is None for part in message.parts):
        return message
    return replace(message, parts=[_decode_text(part) for part in message.parts])


def _decode_text(part: t.Part) -> t.Part:
    if part.raw is None:
        return part
    try:
        return replace(part, raw=b64decode(part.raw, validate=True))
    except ValueError:  # the caller is of that family, and sends bytes all the same
        return part


def _text(value: t.JSON) -> str | None:
    return value if isinstance(value, str) and value else None


def write(part: t.Part, proto: bool, text: bool) -> w.Part:
    """Return the 0.3 part; ``text``: a file of the proto form holds base64 text."""
    metadata = part.metadata
    if part.text is not None:
        if part.filename or part.media_type:
            metadata = _with_extras(part, "text/plain")
        return w.Part(kind=None if proto else "text", text=part.text, metadata=metadata)
    if part.data is not UNSET:
        if part.filename or part.media_type:
            metadata = _with_extras(part, "application/json")
        data = part.data
        if not isinstance(data, dict):
            data = {"value": data}
            metadata = {**(metadata or {}), VALUE: True}
        if proto:
            return w.Part(data={"data": data}, metadata=metadata)
        return w.Part(kind="data", data=data, metadata=metadata)
    if proto:
        raw = b64encode(part.raw) if text and part.raw is not None else part.raw
        file = w.File(
            file_with_bytes=raw,
            file_with_uri=part.url,
            name=part.filename,
            mime_type=part.media_type,
        )
        return w.Part(file=file, metadata=metadata)
    file = w.File(raw=part.raw, uri=part.url, name=part.filename, mime_type=part.media_type)
    return w.Part(kind="file", file=file, metadata=metadata)


def _with_extras(part: t.Part, usual: str) -> dict[str, t.JSON] | None:
    extras = {}
    if part.filename:
        extras["filename"] = part.filename
    if part.media_type and part.media_type != usual:
        extras["mediaType"] = part.media_type
    return {**(part.metadata or {}), EXTRAS: extras} if extras else part.metadata
