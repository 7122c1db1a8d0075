"""Our protobuf against google.protobuf and the official descriptors, on messages nobody chose."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from functools import partial
from typing import Any

import msgspec
import pytest
from a2a.compat.v0_3 import a2a_v0_3_pb2 as legacy_pb
from a2a.types import a2a_pb2 as pb
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.errors import A2AError, InvalidParamsError, ParseError
from greenroom.protocol.frame import Frame
from greenroom.protocol.protobuf import v03
from greenroom.protocol.protobuf.codecs import protobuf_codec
from greenroom.protocol.protobuf.schema import Schema
from greenroom.protocol.protobuf.v1 import TABLES, V1_0, V1_1
from greenroom.protocol.protobuf.wire import WireError
from greenroom.protocol.v03 import types as w

RELAXED = settings(max_examples=60, deadline=None)
OFFICIAL: dict[type, type[Message]] = {type_: getattr(pb, type_.__name__) for type_ in TABLES}
LEGACY: dict[type, type[Message]] = {
    w.File: legacy_pb.FilePart,
    w.Part: legacy_pb.Part,
    w.Message: legacy_pb.Message,
    w.Artifact: legacy_pb.Artifact,
    w.TaskStatus: legacy_pb.TaskStatus,
    w.Task: legacy_pb.Task,
    w.StatusUpdate: legacy_pb.TaskStatusUpdateEvent,
    w.ArtifactUpdate: legacy_pb.TaskArtifactUpdateEvent,
    w.Wrapped: legacy_pb.StreamResponse,
    w.Authentication: legacy_pb.AuthenticationInfo,
    w.PushConfig: legacy_pb.PushNotificationConfig,
    w.TaskPushConfig: legacy_pb.TaskPushNotificationConfig,
    w.TaskPushConfigs: legacy_pb.ListTaskPushNotificationConfigResponse,
    w.SendConfiguration: legacy_pb.SendMessageConfiguration,
    w.SendParams: legacy_pb.SendMessageRequest,
}

ALPHABET = "aZ0 _é漢\U00010348\x00\n"


class Chance:
    """Whatever may stand in a message; drawn from one seed, for speed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self) -> str:
        return "".join(self.random.choices(ALPHABET, k=self.random.choice((0, 1, 3, 150))))

    def number(self) -> float:
        return self.random.choice(
            (
                0,
                1,
                -1,
                -0.0,
                0.5,
                1e300,
                5e-324,
                2**53,
                2**53 + 2.0,
                1e22,
                -(2**31),
                self.random.random(),
            )
        )

    def json(self, depth: int = 3) -> Any:
        kind = self.random.randrange(7 if depth else 5)
        if kind == 5:
            return [self.json(depth - 1) for _ in range(self.random.randrange(3))]
        if kind == 6:
            return self.object(depth - 1)
        return (None, True, False, self.number(), self.text())[kind]

    def object(self, depth: int = 3) -> dict[str, Any]:
        return {self.text(): self.json(depth) for _ in range(self.random.randrange(3))}

    def scalar(self, field: FieldDescriptor) -> Any:
        choose = self.random.choice
        match field.type:
            case FieldDescriptor.TYPE_STRING:
                return self.text()
            case FieldDescriptor.TYPE_BYTES:
                return self.random.randbytes(choose((0, 1, 200)))
            case FieldDescriptor.TYPE_BOOL:
                return choose((True, False))
            case FieldDescriptor.TYPE_INT32:
                return choose((0, 1, 127, 128, -1, 2**31 - 1, -(2**31)))
            case FieldDescriptor.TYPE_INT64:
                return choose((0, 1, 2**40, 2**63 - 1, -(2**63)))
            case _:
                return choose([value.number for value in field.enum_type.values])

    def message(self, descriptor: Any) -> Any:
        """A message of this type with whatever in it."""
        name = descriptor.full_name
        message = GetMessageClass(descriptor)()
        choose = self.random.choice
        if name == "google.protobuf.Timestamp":
            message.seconds = choose((0, 1, -1, -62_135_596_800, 253_402_300_799, 1_700_000_000))
            message.nanos = choose((0, 1, 999_999_999, 5_000_000, 120_000))
        elif name == "google.protobuf.Value":
            json_format.ParseDict(self.json(), message)
        elif name == "google.protobuf.Struct":
            json_format.ParseDict(self.object(), message)
        else:
            oneofs = [one for one in descriptor.oneofs if not one.name.startswith("_")]
            chosen = {choose(list(one.fields)).name for one in oneofs}
            needed = needs(descriptor)
            for field in descriptor.fields:
                if field.containing_oneof in oneofs:
                    wanted = field.name in chosen
                else:
                    singular = field.message_type is not None and not field.is_repeated
                    wanted = (singular and field.name in needed) or choose((True, False))
                if wanted:
                    self.fill(message, field)
        return message

    def fill(self, message: Any, field: FieldDescriptor) -> None:
        inner, member = field.message_type, getattr(message, field.name)
        if inner is not None and inner.GetOptions().map_entry:
            value = inner.fields_by_name["value"].message_type
            for _ in range(self.random.randrange(3)):
                if value is None:
                    member[self.text()] = self.text()
                else:
                    member[self.text()].CopyFrom(self.message(value))
            return
        make = partial(self.scalar, field) if inner is None else partial(self.message, inner)
        if field.is_repeated:
            member.extend([make() for _ in range(self.random.randrange(3))])
        elif inner is not None:
            member.CopyFrom(make())
        else:
            setattr(message, field.name, make())


seeds = st.integers(0, 2**64)


def needs(descriptor: Any) -> set[str]:
    """Names of the messages that the model cannot be without."""
    if descriptor is legacy_pb.DataPart.DESCRIPTOR:
        return {"data"}  # there is one JSON for a part without data and for one with {}
    for known in (OFFICIAL, LEGACY):
        for type_, message in known.items():
            if message.DESCRIPTOR is descriptor:
                return {
                    info.name
                    for info in structs.fields(type_)
                    if info.default is msgspec.NODEFAULT
                    and info.default_factory is msgspec.NODEFAULT
                }
    return set()


def check_same(schema: Schema, type_: type, message: Any) -> None:
    read = schema.read(type_, message.SerializeToString(deterministic=True))
    again = type(message).FromString(schema.write(read))
    assert again == message
    assert schema.read(type_, schema.write(read)) == read


@pytest.mark.parametrize("type_", OFFICIAL, ids=lambda type_: type_.__name__)
@RELAXED
@given(seed=seeds)
def test_1_0_reads_and_writes_what_google_does(type_: type, seed: int) -> None:
    message = Chance(seed).message(OFFICIAL[type_].DESCRIPTOR)
    check_same(V1_0, type_, message)
    read = V1_0.read(type_, message.SerializeToString(deterministic=True))
    parsed = json_format.ParseDict(msgspec.to_builtins(read), OFFICIAL[type_]())
    assert parsed == message  # the very Struct that JSON would have made


@pytest.mark.parametrize("type_", LEGACY, ids=lambda type_: type_.__name__)
@RELAXED
@given(seed=seeds)
def test_0_3_reads_and_writes_what_google_does(type_: type, seed: int) -> None:
    check_same(v03.V0_3, type_, Chance(seed).message(LEGACY[type_].DESCRIPTOR))


@RELAXED
@given(seeds)
def test_messages_sent_in_two_halves_are_merged(seed: int) -> None:
    chance = Chance(seed)
    halves = [chance.message(pb.StreamResponse.DESCRIPTOR) for _ in range(2)]
    both = b"".join(half.SerializeToString(deterministic=True) for half in halves)
    expected = pb.StreamResponse.FromString(both)
    merged = pb.StreamResponse.FromString(V1_0.write(V1_0.read(t.StreamResponse, both)))
    assert merged == expected


def test_a_message_in_more_pieces_than_anybody_sends_is_refused() -> None:
    piece = pb.SendMessageRequest(message=pb.Message(parts=[pb.Part(text="x")])).SerializeToString()
    assert len(V1_0.read(t.SendMessageRequest, piece * 5).message.parts) == 5
    with pytest.raises(WireError, match="message comes more than 4 times again"):
        V1_0.read(t.SendMessageRequest, piece * 6)


def test_a_list_that_is_too_long_is_refused() -> None:
    def message(count: int) -> bytes:
        return bytes(pb.Message(parts=[pb.Part(text="x")] * count).SerializeToString())

    assert len(V1_0.read(t.Message, message(10_000)).parts) == 10_000
    with pytest.raises(InvalidParamsError, match="parts may have 10000 items"):
        V1_0.read(t.Message, message(10_001))


@settings(max_examples=300, deadline=None)
@given(seeds)
def test_damaged_messages_are_refused_or_read_as_google_reads_them(seed: int) -> None:
    chance = Chance(seed)
    whole = bytearray(
        chance.message(pb.SendMessageRequest.DESCRIPTOR).SerializeToString(deterministic=True)
    )
    for _ in range(chance.random.randrange(4)):
        whole[chance.random.randrange(len(whole))] = chance.random.randrange(256)
    agree(bytes(whole[: chance.random.choice((len(whole), chance.random.randrange(len(whole))))]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_bytes_that_are_no_message_are_refused_as_google_refuses_them(body: bytes) -> None:
    agree(body)


def agree(body: bytes) -> None:
    try:
        expected = pb.SendMessageRequest.FromString(body)
    except DecodeError:
        expected = None
    try:
        read = V1_0.read(t.SendMessageRequest, body)
    except (WireError, InvalidParamsError):
        return  # stricter where the model is: NaN, times out of range, unknown members
    assert expected is not None
    known = pb.SendMessageRequest()
    known.CopyFrom(expected)
    known.DiscardUnknownFields()
    if (
        known.ByteSize() == expected.ByteSize()
    ):  # google drops a map's entry for unknown fields in it
        assert V1_0.read(t.SendMessageRequest, known.SerializeToString(deterministic=True)) == read


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "message"),
        (b"\x12\x02\x20\x07", "role"),
    ],
)
def test_what_is_missing_is_named(body: bytes, field: str) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        protobuf_codec("1.0").decode(ops.SEND, body)
    assert [path for path, _ in caught.value.violations] == [field]


def test_a_value_nested_too_deep_is_refused() -> None:
    value = b"\x08\x00"
    for _ in range(200):
        item = b"\x0a" + _size(value) + value
        value = b"\x32" + _size(item) + item
    part = b"\x22" + _size(value) + value
    message = b"\x0a\x01m\x20\x01\x2a" + _size(part) + part
    with pytest.raises(ParseError):
        protobuf_codec("1.0").decode(ops.SEND, b"\x12" + _size(message) + message)


def _size(body: bytes) -> bytes:
    out, size = bytearray(), len(body)
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size])


@pytest.mark.parametrize("value", [10**400, math.inf, math.nan, "\ud800"])
def test_what_protobuf_cannot_hold_is_an_error_of_the_agent(value: Any) -> None:
    part = t.Part(data={"n": value})
    message = t.Message(message_id="m", role=t.Role.AGENT, parts=[part])
    with pytest.raises(A2AError) as caught:
        protobuf_codec("1.0").encode(ops.SEND, t.SendMessageResponse(message=message))
    assert caught.value.grpc == "INTERNAL"


def test_generations_are_written_under_1_1_only() -> None:
    status = t.TaskStatus(state=t.TaskState.WORKING)
    task = t.Task(id="t", status=status, generation=7)
    plain = V1_0.read(t.Task, protobuf_codec("1.0").encode(ops.GET_TASK, task))
    assert plain.generation == 0
    assert V1_1.read(t.Task, protobuf_codec("1.1").encode(ops.GET_TASK, task)) == task
    event = t.TaskStatusUpdateEvent(task_id="t", context_id="c", status=status)
    frame = Frame(7, response=t.StreamResponse(status_update=event))
    numbered = V1_1.read(t.StreamResponse, protobuf_codec("1.1").frame(frame))
    assert numbered.status_update.generation == 7
    bare = V1_1.read(t.StreamResponse, protobuf_codec("1.0").frame(frame))
    assert bare.status_update.generation == 0


def test_frames_are_encoded_once_for_all_listeners() -> None:
    event = t.TaskStatusUpdateEvent(
        task_id="t", context_id="c", status=t.TaskStatus(state=t.TaskState.WORKING)
    )
    frame = Frame(2, response=t.StreamResponse(status_update=event))
    for version in ("0.3", "1.0", "1.1"):
        codec = protobuf_codec(version)
        assert codec.frame(frame) is codec.frame(frame)


@pytest.mark.parametrize(
    ("text", "form", "content"),
    [
        (True, b"AP9yYXc=", b"\x00\xffraw"),
        (False, b"AP9yYXc=", b"AP9yYXc="),
        (False, b"\x00\xffraw", b"\x00\xffraw"),
    ],
)
def test_0_3_files_are_bytes_or_base64_text_as_the_caller_is_known_to_send(
    text: bool, form: bytes, content: bytes
) -> None:
    request = legacy_pb.SendMessageRequest(
        request=legacy_pb.Message(
            message_id="m",
            role="ROLE_USER",
            content=[legacy_pb.Part(file=legacy_pb.FilePart(file_with_bytes=form))],
        )
    )
    codec = protobuf_codec("0.3", text)
    read = codec.decode(ops.SEND, request.SerializeToString(deterministic=True))
    assert read.message.parts[0].raw == content
    written = codec.encode(ops.SEND, t.SendMessageResponse(message=read.message))
    answer = legacy_pb.SendMessageResponse.FromString(written)
    assert answer.msg.content[0].file.file_with_bytes == form


def test_the_codec_needs_no_protobuf_library() -> None:
    """A light client pays for what it uses: the tables are plain Python."""
    script = (
        "import sys, greenroom.protocol.protobuf.codecs;"
        "heavy = ('google.protobuf', 'betterproto2', 'grpc');"
        "print([name for name in heavy if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
