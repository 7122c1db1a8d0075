"""What one caller may ask of this server. The transports limit bodies and connections."""

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
    """What one principal may ask, unless a limit says otherwise.

    Anonymous callers are all one principal, so rates, tasks and streams have no limits for them.
    0 switches a rate off.
    """

    parts: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_ITEMS,
            description="Parts of a message. The server never looks at more than 10 000.",
        ),
    ] = 256
    part_bytes: Annotated[
        Count,
        Meta(
            description="Longest part: characters of text, address, name and media type, and "
            "bytes of raw data and of JSON."
        ),
    ] = 8 * 1024 * 1024
    metadata_bytes: Annotated[
        Size,
        Meta(description="Longest metadata of a message, of its request or of a part, as JSON."),
    ] = 64 * 1024
    references: Annotated[
        Listed,
        Meta(description="Other tasks that a message may refer to."),
    ] = 64
    extensions: Annotated[
        Listed,
        Meta(
            description="Extensions that a message may name. The names, and those of the other "
            "tasks, may be as long as metadata."
        ),
    ] = 64
    tasks: Annotated[
        Count,
        Meta(
            description="Handlers of one principal that run at once. The server refuses more sends."
        ),
    ] = 1000
    streams: Annotated[
        Size,
        Meta(
            description="Open streams of one principal, with repeats of a send and long polls "
            "while they wait."
        ),
    ] = 1000
    rate: Annotated[
        NotNegative,
        Meta(description="Requests a second of one principal, whatever they ask."),
    ] = 200.0
    burst: Annotated[
        Positive,
        Meta(description="Seconds of its rate that a principal may use at once."),
    ] = 2.0
    operations: Annotated[
        Mapping[str, NotNegative],
        Meta(
            description='Requests a second by operation (``{"SendMessage": 20}``). A rate of '
            "``SendMessage`` holds for ``SendStreamingMessage`` too, unless that "
            "has a rate of its own."
        ),
    ] = {}
    buckets: Annotated[
        Count,
        Meta(
            description="Rates that the server remembers. It forgets first those that were not "
            "used for longest."
        ),
    ] = 50_000
    failures: Annotated[
        Size,
        Meta(
            description="Refused credentials of one address (of IPv6: of one /64) before the "
            "gate makes the address wait, and verifies its credentials one at a "
            "time. A caller whose credential is known never waits."
        ),
    ] = 10
    max_penalty: Annotated[
        NotNegative,
        Meta(
            description="The longest wait, in seconds. The wait begins with a sixteenth of "
            "this and doubles with each refusal."
        ),
    ] = 2.0
    failure_window: Annotated[
        NotNegative,
        Meta(
            description="Seconds without a refusal after which the server forgets those of an "
            "address."
        ),
    ] = 60.0
    max_waiting: Annotated[
        Size,
        Meta(
            description="Credentials that wait so at once, a tenth of them of one address. "
            "Beyond a tenth the server refuses the one that has waited longest "
            "with 429, beyond all of them the newcomer. As many requests wait that "
            "were refused for a rate, a tenth of them of one principal."
        ),
    ] = 1000
    tracked_addresses: Annotated[
        Count,
        Meta(description="Addresses whose refusals the server remembers."),
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
        length = len(part.text or part.raw or "")
        if part.url is not None or part.filename is not None or part.media_type is not None:
            length += len(part.url or "") + len(part.filename or "") + len(part.media_type or "")
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
