"""The model on the protobuf wire: tables of field numbers, compiled into readers and writers.

Structs become bytes and bytes become Structs directly: no JSON and no message objects in between,
which is what a general protobuf library for Python spends its time on.
"""
