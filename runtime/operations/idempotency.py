"""Idempotent sends: what makes a send the same send, and direct replies that are remembered."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

import msgspec

from ...protocol.types import Message
from ..call import Principal, TaskScope

_encode = msgspec.json.Encoder().encode
_UUID = "[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
_UUID_GRADE = re.compile(
    rf"{_UUID}|.*[^0-9A-Za-z]{_UUID}"  # with a prefix or without
    r"|[0-9A-Fa-f]{32,}|[0-9A-HJKMNP-TV-Z]{26}"  # its digits, a ULID
    r"|(?=.*[0-9])(?=.*[a-z])(?=.*[A-Z])[0-9A-Za-z_-]{20,}"  # drawn from a large alphabet
).fullmatch
"""What nobody picks twice by chance; long is not enough (``my-conversation-message-1``)."""


def send_key(scope: TaskScope, principal: Principal, message: Message) -> bytes | None:
    """Digest of everything that makes two sends the same: owner, id, content, task and context.

    ``None`` where repeats cannot be told from coincidence: between anonymous callers, who share an
    owner, only ids that nobody picks twice by chance count; but within one task every id does.
    """
    if principal.anonymous and not message.task_id and not _UUID_GRADE(message.message_id):
        return None
    digest = _of_scope(scope).copy()
    digest.update(_encode(message))
    return key_begin(message.message_id) + digest.digest()


def key_begin(message_id: str) -> bytes:
    """How the keys of all sends of a message begin: they are found by it without a second index,
    which would cost each send a quarter of its commit. Others may begin so by chance."""
    return crc32(message_id.encode()).to_bytes(4, "big")


@lru_cache(maxsize=1024)
def _of_scope(scope: TaskScope) -> blake2b:
    return blake2b("\x00".join((*scope, "")).encode(), digest_size=16)
