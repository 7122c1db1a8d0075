"""The life of a task as a table (section 4.1.3). Everything about transitions is in this file.

A terminal state never changes. ``canceled``, ``failed`` and ``rejected`` may come from anywhere
else; ``completed`` only from working, so that what asked for input has said that it got it.
"""

from __future__ import annotations

from ...protocol.types import TERMINAL, TaskState

_ENDS = frozenset({TaskState.CANCELED, TaskState.FAILED, TaskState.REJECTED})

TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.SUBMITTED: _ENDS | {TaskState.WORKING},
    TaskState.WORKING: _ENDS
    | {
        TaskState.WORKING,
        TaskState.INPUT_REQUIRED,
        TaskState.AUTH_REQUIRED,
        TaskState.COMPLETED,
    },
    TaskState.INPUT_REQUIRED: _ENDS | {TaskState.WORKING},
    TaskState.AUTH_REQUIRED: _ENDS | {TaskState.WORKING, TaskState.INPUT_REQUIRED},
    **{state: frozenset() for state in TERMINAL},
}


class IllegalTransition(RuntimeError):
    """A handler asked for a state that cannot follow the present one."""

    def __init__(self, old: TaskState, new: TaskState) -> None:
        allowed = ", ".join(sorted(state.name.lower() for state in TRANSITIONS[old])) or "nothing"
        super().__init__(
            f"a task that is {old.name.lower()} cannot become {new.name.lower()}; "
            f"what may follow is: {allowed}"
        )
        self.old = old
        self.new = new


def check(old: TaskState, new: TaskState) -> None:
    """Raise ``IllegalTransition`` unless ``new`` may follow ``old``."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(old, new)
