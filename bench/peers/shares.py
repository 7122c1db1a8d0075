# mypy: ignore-errors
"""Where a server's CPU time goes: every millisecond of it, whose code is running?"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter

# The first that the path of a frame contains, from the innermost frame outwards.
OWNERS = (
    ("/h2/", "HTTP/2"),
    ("/hpack/", "HTTP/2"),
    ("/hyperframe/", "HTTP/2"),
    ("/transports/grpc/", "gRPC layer"),
    ("/protocol/protobuf/", "protobuf"),
    ("/greenroom/", "Greenroom"),
    ("/bench/", "agent"),
    ("/asyncio/", "event loop"),
    ("/selectors.py", "event loop"),
)


def watch() -> None:
    """Write the shares to the file that BENCH_SHARES names, if it names one."""
    path = os.environ.get("BENCH_SHARES")
    if path is None:
        return
    counts: Counter[str] = Counter()

    def sample(number, frame) -> None:
        while frame is not None:
            name = frame.f_code.co_filename
            owner = next((owner for part, owner in OWNERS if part in name), None)
            if owner is not None:
                break
            frame = frame.f_back
        counts[owner or "other"] += 1
        if sum(counts.values()) % 100 == 0:
            with open(path, "w") as file:
                json.dump(counts, file)

    signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
