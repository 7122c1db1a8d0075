"""Server-sent events: what is written reads back, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.protocol import sse
from greenroom.protocol.errors import InvalidAgentResponseError


def read(*chunks: bytes, decoder: sse.Decoder | None = None) -> list[sse.Event]:
    decoder = decoder or sse.Decoder()
    collected = []
    for chunk in chunks:
        decoder.receive_data(chunk)
        while (event := decoder.next_event()) is not None:
            collected.append(event)
    return collected


def data(*chunks: bytes) -> list[bytes]:
    return [event.data for event in read(*chunks)]


def test_an_event_is_an_id_and_one_line_of_data() -> None:
    assert sse.event(b'{"a":1}', 7) == b'id: 7\ndata: {"a":1}\n\n'
    assert sse.event(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert sse.event(b"0", 0) == b"id: 0\ndata: 0\n\n"


def test_what_is_written_reads_back() -> None:
    stream = (
        sse.event(b'{"a":"\xc3\xa9"}', 3)
        + sse.HEARTBEAT
        + sse.comment("the cursor is gone:\na snapshot follows")
        + sse.event(b"{}")
        + sse.retry(250)
    )
    decoder = sse.Decoder()
    assert read(stream, decoder=decoder) == [
        sse.Event(b'{"a":"\xc3\xa9"}', "3", "message"),
        sse.Event(b"{}", "3", "message"),
    ]
    assert (decoder.last_id, decoder.retry) == ("3", 250)


# Each stream, and the data of its events; from the HTML standard's rules and examples.
STREAMS = [
    (b"data: a\n\n", [b"a"]),
    (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    (b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"]),
    (b"data: a\ndata: b\n\n", [b"a\nb"]),
    (b"data: a\rdata: b\ndata: c\r\n\n", [b"a\nb\nc"]),
    (b"data\n\ndata\ndata\n\ndata:", [b"", b"\n"]),
    (b"data:a\n\ndata: a\n\ndata:  a\n\n", [b"a", b"a", b" a"]),
    (b": note\ndata: a\n: note\n\n", [b"a"]),
    (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
    (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
    (b"id: 1\n\nevent: x\n\ndata: a\n\n", [b"a"]),
    (b"other: x\ndata: a\nnonsense\n\n", [b"a"]),
    (b"data: a\n", []),
    (b"data: \xff\xc3\xa9\n\n", [b"\xff\xc3\xa9"]),
    (b" data: a\nDATA: b\n\n", []),
    (b"", []),
]


@pytest.mark.parametrize(("stream", "expected"), STREAMS)
def test_streams_of_every_shape(stream: bytes, expected: list[bytes]) -> None:
    assert data(stream) == expected
    assert data(*(bytes([byte]) for byte in stream)) == expected, "byte by byte"
    for cut in range(len(stream)):
        assert data(stream[:cut], b"", stream[cut:]) == expected, f"cut at {cut}"


def test_ids_stay_until_the_next_one() -> None:
    events = read(b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: 2\0\ndata: d\n\n")
    assert [event.id for event in events] == ["1", "1", "", ""]


def test_types_are_of_one_event() -> None:
    events = read(b"event: error\ndata: a\n\ndata: b\n\n")
    assert [event.type for event in events] == ["error", "message"]


def test_retry_takes_digits_only() -> None:
    decoder = sse.Decoder()
    read(b"retry: soon\nretry: -1\nretry: \n\n", decoder=decoder)
    assert decoder.retry is None
    read(b"retry: 1500\n\n", decoder=decoder)
    assert decoder.retry == 1500


@pytest.mark.parametrize(
    "endless", [b"data: " + b"x" * 200, b"data: xxxxxxxx\n" * 20, b"x" * 200, b":" + b"x" * 200]
)
def test_an_endless_event_is_refused(endless: bytes) -> None:
    decoder = sse.Decoder(max_event=100)
    with pytest.raises(InvalidAgentResponseError, match="larger than 100 bytes"):
        read(endless, decoder=decoder)


def test_many_events_of_the_greatest_size_pass() -> None:
    decoder = sse.Decoder(max_event=100)
    assert len(read(sse.event(b"x" * 80, 1) * 1000, decoder=decoder)) == 1000


def test_a_large_event_in_small_pieces_is_searched_once() -> None:
    decoder = sse.Decoder()
    payload = b"x" * 4_000_000
    stream = sse.event(payload)
    pieces = (stream[at : at + 4096] for at in range(0, len(stream), 4096))
    assert [event.data for event in read(*pieces, decoder=decoder)] == [payload]


LINES = st.sampled_from(
    [b"data: x", b"data", b": c", b"id: 4", b"event: e", b"", b"retry: 1", b"?"]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(
    st.lists(st.tuples(LINES, ENDS), max_size=30),
    st.lists(st.integers(min_value=1, max_value=5), max_size=60),
)
def test_cuts_change_nothing(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(line + end for line, end in lines)
    pieces, at = [], 0
    for length in cuts:
        pieces.append(stream[at : at + length])
        at += length
    assert read(*pieces, stream[at:]) == read(stream)
