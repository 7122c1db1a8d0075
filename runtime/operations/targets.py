"""``target_agent``: clients of CrewAI's servers name the agent of a message in its metadata.

A task stays with the agent that has its address: GetTask asks there. So the server never hands a
message to another agent. It refuses the message and names the address to which it should go.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...protocol.errors import InvalidParamsError
from ...protocol.types import SendMessageRequest
from ..agent import TARGET, Agent
from ..call import ANONYMOUS, Call
from ..security.gate import Gate


def check_target(
    call: Call, agent: Agent, agents: Mapping[str, Agent], gate: Gate, request: SendMessageRequest
) -> None:
    """Raise InvalidParamsError for a message whose ``target_agent`` is neither ``agent`` nor the
    skill that the message goes to.

    The error names other agents only to a caller who may use them.
    """
    for metadata, where in (
        (request.message.metadata, "message.metadata"),
        (request.metadata, "metadata"),
    ):
        target = metadata.get(TARGET) if metadata else None
        if target is None or target == agent.slug:
            continue
        if target != agent.named_skill(request.message, request.metadata):
            raise _refusal(call, target, agents, gate, f"{where}.{TARGET}")


def _refusal(
    call: Call, target: object, agents: Mapping[str, Agent], gate: Gate, field: str
) -> InvalidParamsError:
    principal = call.principal or ANONYMOUS
    reached = [slug for slug in agents if gate.reaches(principal, slug)]
    if isinstance(target, str) and target in reached:
        return InvalidParamsError(
            f"{TARGET} names another agent of this server: send the message to "
            f"/a2a/agents/{target}/, or leave {TARGET} out",
            field=field,
        )
    known = "" if principal.anonymous else f"; there are {', '.join(reached)}"
    return InvalidParamsError(f"{TARGET} names no agent that is served here{known}", field=field)
