"""Properties: what is written reads back; whatever comes in, only protocol errors come out."""

from __future__ import annotations

import copy
import json as stdlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, inspect

from greenroom.protocol import jsonrpc, protojson, rest
from greenroom.protocol import types as t
from greenroom.protocol.codec import Codec
from greenroom.protocol.codecs import codec_for
from greenroom.protocol.errors import A2AError
from greenroom.protocol.operations import OPERATIONS

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def values(node: inspect.Type) -> st.SearchStrategy[Any]:
    """Return the values of a schema; what is optional is ``None`` or not empty."""
    if isinstance(node, inspect.UnionType):
        return st.none() | st.one_of(
            *(values(member) for member in node.types if not isinstance(member, inspect.NoneType))
        )
    if isinstance(node, inspect.StructType):
        return structs(node)
    if isinstance(node, inspect.ListType):
        return st.lists(values(node.item_type), max_size=2)
    if isinstance(node, inspect.DictType):
        return st.dictionaries(TEXT, values(node.value_type), max_size=2)
    if isinstance(node, inspect.EnumType):
        return st.sampled_from(list(node.cls)[1:])
    return {
        inspect.StrType: TEXT.filter(bool),
        inspect.IntType: st.integers(0, 2**31 - 1),
        inspect.BoolType: st.booleans(),
        inspect.BytesType: st.binary(max_size=9),
        inspect.AnyType: JSON,
    }[type(node)]


def structs(node: inspect.StructType) -> st.SearchStrategy[Any]:
    if node.cls is t.Part:
        return parts()
    return st.builds(node.cls, **{field.name: values(field.type) for field in node.fields})


def parts() -> st.SearchStrategy[t.Part]:
    content = st.one_of(
        TEXT.map(lambda value: {"text": value}),
        st.binary(max_size=9).map(lambda value: {"raw": value}),
        TEXT.map(lambda value: {"url": value}),
        JSON.map(lambda value: {"data": value}),
    )
    about = st.fixed_dictionaries(
        {},
        optional={
            "metadata": st.dictionaries(TEXT, JSON, max_size=2),
            "filename": TEXT.filter(bool),
            "media_type": TEXT.filter(bool),
        },
    )
    return st.builds(lambda one, more: t.Part(**one, **more), content, about)


WIRES = sorted(t.Wire.__subclasses__(), key=lambda cls: cls.__name__)
V1_WIRES = [cls for cls in WIRES if cls.__module__ == t.__name__]


@pytest.mark.parametrize("cls", V1_WIRES, ids=lambda cls: cls.__name__)
def test_every_object_reads_back_the_fast_way_and_the_slow_way(cls: type[t.Wire]) -> None:
    schema = inspect.type_info(cls)
    assert isinstance(schema, inspect.StructType)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(structs(schema))
    def check(value: t.Wire) -> None:
        body = protojson.encode(value)
        fast = protojson.strict(body, cls)
        assert fast is None or fast == value
        assert protojson.lenient(body, cls) == value
        assert protojson.encode(protojson.decode(body, cls)) == body

    check()


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_data_is_what_was_sent(data: Any) -> None:
    part = protojson.decode(protojson.encode(t.Part(data=data)), t.Part)
    assert part.data is not UNSET
    assert part.data == data


# --- fuzzing -------------------------------------------------------------------------------------

SEED_BODIES = [
    b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":{"messageId":"m","role":'
    b'"ROLE_USER","parts":[{"text":"hi"},{"raw":"aGk="},{"data":{"a":[1,2.5,null,true]}}],'
    b'"metadata":{"k":"v"}},"configuration":{"historyLength":3,"acceptedOutputModes":["a"]}}}',
    b'{"jsonrpc":"2.0","id":"x","method":"ListTasks","params":{"pageSize":"10","status":2,'
    b'"statusTimestampAfter":"2025-10-28T10:30:00Z","history_length":1.0}}',
    b'{"jsonrpc":"2.0","method":"CreateTaskPushNotificationConfig","params":{"taskId":"t",'
    b'"url":"https://e.com","authentication":{"scheme":"Bearer","credentials":null}}}',
]
TOKENS = [
    *(bytes([byte]) for byte in b'{}[]":,\\0-+.eE \n\r\t\x00\xff\xc3u'),
    b"null", b"true", b"false", b"NaN", b"-", b"1e999", b"-0", b"9" * 30, b"0.1", b'""', b'"a"',
    b"\\ud800", b"\\u0000", b"[" * 120, b"]" * 120, b"{\"a\":" * 120, b"\xef\xbb\xbf",
    b'"role":', b'"text":', b'"data":', b'"message_id":', b"ROLE_AGENT", b"\xf0\x9f\x8e\xad",
]  # fmt: skip
CODECS = [codec_for("1.0"), codec_for("1.1"), codec_for("0.3"), codec_for("0.3", "HTTP+JSON")]


def mutated(rng: random.Random) -> bytes:
    body = bytearray(rng.choice(SEED_BODIES))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body) + 1)
        match rng.randrange(5):
            case 0:
                body[at:at] = rng.choice(TOKENS)
            case 1:
                del body[at : at + rng.randint(1, 12)]
            case 2:
                body[at : at + rng.randint(1, 6)] = rng.choice(TOKENS)
            case 3:
                start = rng.randrange(len(body) + 1)
                body[at:at] = body[start : start + rng.randint(1, 30)]
            case 4:
                body[at : at + 1] = bytes([rng.randrange(256)])
    return bytes(body)


def valued(rng: random.Random) -> bytes:
    """A body of good JSON in which some value is another one."""
    body = stdlib.loads(rng.choice(SEED_BODIES))
    other: list[Any] = [None, True, 0, -1, 1.5, 2**70, "", "x", "\0", [], {}, [[]], {"a": None}]
    for _ in range(rng.randint(1, 3)):
        node: Any = body
        while isinstance(node, dict | list) and node:
            key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if rng.random() < 0.3 or not isinstance(node[key], dict | list) or not node[key]:
                node[key] = copy.deepcopy(rng.choice(other))
                break
            node = node[key]
    return stdlib.dumps(body).encode()


def taken(call: Callable[..., Any], *args: Any) -> bool:
    """Whether the call took what it was given; anything but a protocol error fails the test."""
    try:
        call(*args)
    except A2AError:
        return False
    return True


def over_json_rpc(codec: Codec, body: bytes) -> None:
    request = jsonrpc.parse(body)
    codec.decode(jsonrpc.operation(request, codec.version), request.params)


def over_rest(method: str, path: str, query: str, body: bytes) -> None:
    route = rest.match(method, path)
    if route is not None:
        rest.request(CODECS[0], route, query, body)


def fuzz(cases: int, seed: int) -> int:
    rng = random.Random(seed)
    good = 0
    for number in range(cases):
        body = valued(rng) if number % 3 == 0 else mutated(rng)
        good += taken(over_json_rpc, rng.choice(CODECS), body)
        operation = rng.choice(OPERATIONS)
        params = body.partition(b'"params":')[2][:-1]
        for codec in CODECS:
            taken(codec.decode, operation, params)
        text = body[:60].decode("latin-1")
        taken(over_rest, "POST", "/message:send", "", params)
        taken(over_rest, "GET", "/tasks", text, b"")
        taken(over_rest, "GET", f"/tasks/{text}", text, b"")
        taken(over_rest, "POST", f"/{text}/tasks/t:cancel", "", body)
        taken(over_rest, "GET", text, "", b"")
    return good


def test_only_protocol_errors_come_out() -> None:
    assert fuzz(3_000, seed=1) > 30, "some bodies must be good, or this would prove little"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_only_protocol_errors_come_out_of_very_many() -> None:
    assert fuzz(100_000, seed=2) > 1_000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64) | st.lists(st.sampled_from(TOKENS), max_size=20).map(b"".join))
def test_any_bytes_at_all(body: bytes) -> None:
    taken(jsonrpc.parse, body)
    for operation in OPERATIONS:
        taken(CODECS[0].decode, operation, body)
