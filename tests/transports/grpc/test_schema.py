"""Our proto sources: the official messages under our own hand, and classes made of them."""

from __future__ import annotations

import filecmp
import subprocess
import sys
from pathlib import Path

import pytest
from a2a.compat.v0_3 import a2a_v0_3_pb2
from a2a.types import a2a_pb2
from google.protobuf import descriptor_pb2

from tests.support.paths import ROOT

CLASSES = ROOT / "transports" / "grpc" / "_pb"
OF_1_1 = {
    "SendMessageConfiguration.if_generation_match",
    "Task.generation",
    "TaskStatusUpdateEvent.generation",
    "TaskArtifactUpdateEvent.generation",
    "GetTaskRequest.current_generation",
}


def ours(name: str) -> descriptor_pb2.FileDescriptorProto:
    files = descriptor_pb2.FileDescriptorSet.FromString(
        (CLASSES / "descriptors.binpb").read_bytes()
    )
    return next(file for file in files.file if file.name == name)


def fields(file: descriptor_pb2.FileDescriptorProto) -> dict[str, tuple[object, ...]]:
    collected: dict[str, tuple[object, ...]] = {}
    waiting = [("", message) for message in file.message_type]
    while waiting:
        scope, message = waiting.pop()
        path = f"{scope}{message.name}"
        waiting += [(f"{path}.", inner) for inner in message.nested_type]
        for field in message.field:
            oneof = ""
            if field.HasField("oneof_index") and not field.proto3_optional:
                oneof = message.oneof_decl[field.oneof_index].name
            collected[f"{path}.{field.name}"] = (
                field.number,
                field.type,
                field.label,
                field.type_name,
                field.json_name,
                field.proto3_optional,
                oneof,
            )
    for enum in file.enum_type:
        collected |= {f"{enum.name}.{value.name}": (value.number,) for value in enum.value}
    for service in file.service:
        collected |= {
            f"{service.name}/{method.name}": (
                method.input_type,
                method.output_type,
                method.client_streaming,
                method.server_streaming,
            )
            for method in service.method
        }
    return collected


@pytest.mark.parametrize(
    ("name", "official", "more"),
    [
        ("lf/a2a/v1/a2a.proto", a2a_pb2, OF_1_1),
        ("a2a/v1/a2a.proto", a2a_v0_3_pb2, set()),
    ],
)
def test_our_messages_are_the_official_ones(name: str, official: object, more: set[str]) -> None:
    theirs = descriptor_pb2.FileDescriptorProto()
    official.DESCRIPTOR.CopyToProto(theirs)  # type: ignore[attr-defined]
    found, expected = fields(ours(name)), fields(theirs)
    assert {key: value for key, value in found.items() if key in expected} == expected
    assert set(found) - set(expected) == more - set(expected)


def test_the_classes_checked_in_are_those_of_the_sources(tmp_path: Path) -> None:
    made = tmp_path / "_pb"
    bin_ = Path(sys.executable).parent
    command = ["make", "proto-classes", f"PB={made}", f"BIN={bin_}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    names = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    here = {
        path.relative_to(CLASSES)
        for path in CLASSES.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == here
    _, different, missing = filecmp.cmpfiles(made, CLASSES, map(str, names), shallow=False)
    assert (different, missing) == ([], []), "run `make proto`"
