"""The garbage collector of a process that serves agents."""

from __future__ import annotations

import gc
import logging

log = logging.getLogger("greenroom.server")


def tune_garbage_collection() -> None:
    """Take what was loaded so far out of the collector's sight and let it run rarely.

    With many live tasks the default thresholds cost a quarter of the CPU and most of the tail.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    log.debug(
        "garbage collector: %d objects frozen, thresholds %s",
        gc.get_freeze_count(),
        gc.get_threshold(),
        extra={"event": "gc"},
    )
