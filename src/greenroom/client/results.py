"""What became of a message that was sent: values for what goes on, errors for what ended badly."""

from __future__ import annotations

from msgspec import Struct

from ..protocol.types import Message, Task, TaskState


class _Waiting(Struct, frozen=True):
    """``task`` waits for its client. Give this to ``Client.reply`` with the answer."""

    task: Task

    @property
    def message(self) -> Message | None:
        """What the agent said when it began to wait."""
        return self.task.status.message

    @property
    def question(self) -> str:
        """The text of ``message``, ``""`` where the agent said nothing."""
        return "" if self.message is None else self.message.text


class InputRequired(_Waiting, frozen=True):
    """The agent asks for more: answer with ``Client.reply``."""


class AuthRequired(_Waiting, frozen=True):
    """The agent needs an authorisation that its client arranges outside A2A (section 7.6).

    ``Client.subscribe`` follows the task until the agent got it.
    """


class TaskEndedError(Exception):
    """Base of the errors of tasks that ended, and not with success. ``task`` is the whole task."""

    _was = "ended"

    def __init__(self, task: Task) -> None:
        self.task = task
        said = task.status.message.text if task.status.message is not None else ""
        super().__init__(f"the task {task.id} {self._was}{f': {said}' if said else ''}")


class TaskFailed(TaskEndedError):
    """The task is in the state failed."""

    _was = "failed"


class TaskRejected(TaskEndedError):
    """The agent rejected the task."""

    _was = "was rejected"


class TaskCanceled(TaskEndedError):
    """The task was canceled, by this client or by somebody else."""

    _was = "was canceled"


class InvalidOutputError(Exception):
    """The task completed, and what it made is not of the type that ``output`` names."""

    def __init__(self, message: str, task: Task | Message) -> None:
        super().__init__(message)
        self.task = task


Result = Task | Message | InputRequired | AuthRequired

_ERRORS = {
    TaskState.FAILED: TaskFailed,
    TaskState.REJECTED: TaskRejected,
    TaskState.CANCELED: TaskCanceled,
}


def result_of(task: Task) -> Task | InputRequired | AuthRequired:
    """Return what ``task`` means for its client; raises TaskEndedError."""
    error = _ERRORS.get(task.status.state)
    if error is not None:
        raise error(task)
    if task.status.state is TaskState.INPUT_REQUIRED:
        return InputRequired(task)
    if task.status.state is TaskState.AUTH_REQUIRED:
        return AuthRequired(task)
    return task
