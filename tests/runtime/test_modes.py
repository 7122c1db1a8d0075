"""What an agent takes, as 1.0 says it and as the cards of 0.2 and 0.3 say it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from greenroom import Agent, Part, Skill, TaskContext
from greenroom.protocol.cards.shapes import card_json
from greenroom.protocol.errors import ContentTypeNotSupportedError, InvalidParamsError
from greenroom.protocol.types import Message, Role, TaskState
from tests.support.drive import running

pytestmark = pytest.mark.anyio

TEXT = Part(text="hi")
DATA = Part(data={"a": 1})
BARE = Part(raw=b"x")
PNG = Part(raw=b"x", media_type="image/png")
LINK = Part(url="https://x.test/a.png", media_type="Image/PNG; q=1")
MARKDOWN = Part(text="*hi*", media_type="text/markdown")
LATIN = Part(text="hi", media_type="text/plain; charset=utf-8")
PROBLEM = Part(data={}, media_type="application/problem+json")
OLD = Part(text="hi", media_type="text")

TAKES: list[tuple[list[str], list[Part], list[Part]]] = [
    (["text"], [TEXT, LATIN, MARKDOWN, OLD, BARE], [DATA, PNG, LINK]),
    (["TEXT "], [TEXT], [DATA]),
    (["text", "data"], [TEXT, DATA, PROBLEM], [PNG]),
    (["data"], [DATA, PROBLEM], [TEXT, PNG]),
    (["file"], [PNG, LINK, BARE], [TEXT, DATA]),
    (["text", "file"], [TEXT, PNG], [DATA]),
    (["text/plain"], [TEXT, LATIN, OLD], [MARKDOWN, DATA, PNG]),
    (["text/plain; charset=utf-8"], [TEXT, LATIN], [DATA]),
    (["Text/Plain"], [TEXT], [DATA]),
    (["text/*"], [TEXT, MARKDOWN], [DATA, PNG]),
    (["image/*"], [PNG, LINK], [TEXT]),
    (["*/*"], [TEXT, DATA, PNG, LINK, PROBLEM], []),
    (["*"], [TEXT, DATA, PNG], []),
    (["application/json"], [DATA], [PROBLEM, TEXT]),
]


@pytest.mark.parametrize(("modes", "taken", "refused"), TAKES, ids=lambda row: str(row)[:30])
async def test_parts_are_taken_as_the_modes_say(
    modes: list[str], taken: list[Part], refused: list[Part]
) -> None:
    agent = Agent("Desk", input_modes=modes)

    @agent.handler
    async def handle(ctx: TaskContext) -> str:
        return "taken"

    async with running(agent) as peer:
        for part in taken:
            sent = Message(message_id=repr(part)[:200], role=Role.USER, parts=[part])
            assert (await peer.send(sent)).status.state is TaskState.COMPLETED, part
        for part in refused:
            with pytest.raises(ContentTypeNotSupportedError):
                await peer.send(Message(message_id="refused", role=Role.USER, parts=[part]))


@pytest.mark.parametrize(
    ("modes", "told"),
    [
        ("text/plain", "not one text"),
        ([], "at least one"),
        ([""], "no media type"),
        (["plain text"], "no media type"),
        (["text/"], "no media type"),
        (["/plain"], "no media type"),
        (["*/plain"], "no media type"),
        (["json"], "no media type"),
        (["text/plain", None], "list of texts"),
        ([b"text/plain"], "list of texts"),
    ],
)
@pytest.mark.parametrize("name", ["input_modes", "output_modes"])
def test_what_is_no_list_of_modes_is_refused_when_the_agent_is_made(
    modes: Any, told: str, name: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        Agent("Desk", **{name: modes})
    with pytest.raises((TypeError, ValueError), match=told):
        Agent("Desk", skills=[Skill(id="a", name="A", description="", tags=[], **{name: modes})])
    if modes:
        with pytest.raises((TypeError, ValueError), match=told):
            Agent("Desk").skill("a", **{name: modes})(lambda ctx: None)


def test_no_required_list_of_a_card_is_empty() -> None:
    agent = Agent(
        "Desk",
        input_modes=["text", "text/plain", "file"],
        output_modes=["data"],
        skills=[
            Skill(id="bare", name="Bare", description="", tags=[]),
            Skill(id="own", name="Own", description="", tags=["x"], input_modes=["image/png"]),
        ],
    )
    card = agent.card([])
    assert card.default_input_modes == ["text/plain", "application/octet-stream"]
    assert card.default_output_modes == ["application/json"]
    bare, own = card.skills
    assert bare.tags == ["bare"]
    assert bare.input_modes == card.default_input_modes
    assert bare.output_modes == card.default_output_modes
    assert own.input_modes == ["image/png"]
    assert own.output_modes == ["application/json"]
    [only] = Agent("Alone").card([]).skills
    assert only.tags
    assert only.input_modes


def test_a_card_is_whole_whatever_its_texts_and_its_own_function_hold() -> None:
    half = "caf\udce9 \ud83d\ude00"
    agent = Agent(half, half, skills=[Skill(id="a", name=half, description=half, tags=[half])])
    card = agent.card([])
    assert card.name == card.description == "caf\ufffd 😀"
    assert card.skills[0].tags == ["caf\ufffd 😀"]
    assert card_json(card, "1.0")
    bare = replace(card, skills=[], default_input_modes=[], default_output_modes=[])
    whole = agent.completed(bare)
    assert [skill.id for skill in whole.skills] == [agent.slug]
    assert whole.default_input_modes == card.default_input_modes
    assert whole.default_output_modes == card.default_output_modes


def test_an_error_holds_no_half_of_a_character() -> None:
    error = InvalidParamsError("caf\udce9", name="\ud83d\ude00")
    assert error.message == str(error) == "caf\ufffd"
    assert error.metadata == {"name": "😀"}
