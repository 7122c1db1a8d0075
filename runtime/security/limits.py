"""What one caller may ask of this server. Limits of bodies and connections are the transports'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct

from ...protocol.errors import InvalidParamsError, PayloadTooLargeError
from ...protocol.types import SendMessageRequest
from ...protocol.validation import MAX_ITEMS
from ..settings.bounds import Count, NotNegative, Positive, Size
from ..settings.described import described

Listed = Annotated[int, Meta(ge=0, le=MAX_ITEMS)]

_encode = msgspec.json.Encoder().encode


@described
class Limits(Struct, frozen=True, kw_only=True):
    """Each per principal, unless it says otherwise. Rates, tasks and streams of anonymous callers
    are not limited one by one: they are all one principal. 0 switches a rate off.
    """

    parts: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_ITEMS,
            description="Parts of a message; 10 000 at most, for more are not looked at.",
        ),
    ] = 256
    part_bytes: Annotated[
        Count,
        Meta(
            description="Longest part: characters of text, address, name and media type, bytes of "
            "raw data and of JSON."
        ),
    ] = 8 * 1024 * 1024
    metadata_bytes: Annotated[
        Size,
        Meta(description="Longest metadata of a message, of its request or of a part, as JSON."),
    ] = 64 * 1024
    references: Annotated[
        Listed,
        Meta(description="Other tasks that a message refers to."),
    ] = 64
    extensions: Annotated[
        Listed,
        Meta(
            description="Extensions that a message names. They and the tasks are no longer than "
            "metadata may be."
        ),
    ] = 64
    tasks: Annotated[
        Count,
        Meta(description="Handlers that run at once; more sends are refused."),
    ] = 1000
    streams: Annotated[
        Size,
        Meta(description="Open streams; repeats of a send and long polls while they wait."),
    ] = 1000
    rate: Annotated[
        NotNegative,
        Meta(description="Requests a second, whatever they ask."),
    ] = 200.0
    burst: Annotated[
        Positive,
        Meta(description="A bucket holds this many seconds of its rate."),
    ] = 2.0
    operations: Annotated[
        Mapping[str, NotNegative],
        Meta(
            description='Requests a second by operation (``{"SendMessage": 20}``; of streaming '
            "sends "
            "too, unless ``SendStreamingMessage`` is there)."
        ),
    ] = {}
    buckets: Annotated[
        Count,
        Meta(description="Rates remembered; those unused longest are forgotten first."),
    ] = 50_000
    failures: Annotated[
        Size,
        Meta(
            description="Refused credentials of one address (of IPv6: of one /64) before it is "
            "made "
            "to wait, and its credentials are verified one at a time. Those known "
            "already never wait."
        ),
    ] = 10
    max_penalty: Annotated[
        NotNegative,
        Meta(
            description="The longest wait, in seconds; it doubles with each refusal, from a "
            "sixteenth of this."
        ),
    ] = 2.0
    failure_window: Annotated[
        NotNegative,
        Meta(description="Seconds without a refusal after which an address starts anew."),
    ] = 60.0
    max_waiting: Annotated[
        Size,
        Meta(
            description="Credentials that wait so at once, a tenth of them of one address. "
            "Beyond a "
            "tenth the one that has waited longest is refused with 429, beyond all of "
            "them the newcomer. Of requests that are refused for a rate as many wait, a "
            "tenth of them of one principal."
        ),
    ] = 1000
    tracked_addresses: Annotated[
        Count,
        Meta(description="Addresses remembered."),
    ] = 10_000


def measure(request: SendMessageRequest, limits: Limits) -> None:
    """Refuse a message that is too long. Raises InvalidParamsError, PayloadTooLargeError."""
    message = request.message
    parts = message.parts
    if len(parts) > limits.parts:
        raise InvalidParamsError(
            f"A message may have {limits.parts} parts, not {len(parts)}", field="message.parts"
        )
    most = limits.part_bytes
    for index, part in enumerate(parts):
        text = part.text if part.text is not None else part.raw
        length = len(text) if text is not None else 0
        for name in (part.url, part.filename, part.media_type):
            if name is not None:
                length += len(name)
        if part.data is not UNSET:
            length += len(_encode(part.data))
        if length > most:
            raise PayloadTooLargeError(
                f"message.parts[{index}] is longer than {most} bytes", maxBytes=str(most)
            )
        if part.metadata is not None:
            _metadata(f"message.parts[{index}].metadata", part.metadata, limits)
    if message.metadata is not None:
        _metadata("message.metadata", message.metadata, limits)
    if request.metadata is not None:
        _metadata("metadata", request.metadata, limits)
    references, extensions = message.reference_task_ids, message.extensions
    if references:
        _listed(
            "message.referenceTaskIds", "refer to {} tasks", references, limits.references, limits
        )
    if extensions:
        _listed("message.extensions", "name {} extensions", extensions, limits.extensions, limits)


def _listed(path: str, may: str, texts: list[str], most: int, limits: Limits) -> None:
    if len(texts) > most:
        raise InvalidParamsError(f"A message may {may.format(most)}, not {len(texts)}", field=path)
    _bounded(path, sum(map(len, texts)), limits)


def _metadata(path: str, value: dict[str, Any], limits: Limits) -> None:
    _bounded(path, len(_encode(value)), limits)


def _bounded(path: str, length: int, limits: Limits) -> None:
    if length > limits.metadata_bytes:
        raise PayloadTooLargeError(
            f"{path} is longer than {limits.metadata_bytes} bytes",
            maxBytes=str(limits.metadata_bytes),
        )
