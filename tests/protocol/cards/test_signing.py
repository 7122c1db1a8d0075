"""Canonical JSON (RFC 8785) and signed cards, against the RFC's vectors and the official SDK."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from a2a.client.card_resolver import parse_agent_card
from a2a.types import a2a_pb2
from a2a.utils.signing import (
    InvalidSignaturesError,
    create_agent_card_signer,
    create_signature_verifier,
)
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from google.api.field_behavior_pb2 import REQUIRED, field_behavior
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToJson
from msgspec import structs

from greenroom import Agent, asgi
from greenroom.auth import ApiKeys, Security, SigningKey, new_key
from greenroom.cli.main import main
from greenroom.protocol import types as t
from greenroom.protocol.cards.canonical import canonical, number
from greenroom.protocol.cards.shapes import card_json, parse_card
from greenroom.protocol.cards.signing import (
    OPTIONAL,
    SdkFormError,
    SignatureError,
    payload,
    sign,
    verify,
)
from greenroom.protocol.jose import JoseError, key_of_pem, keys_of
from tests.support.asgi import request
from tests.support.clock import on_asyncio

__all__ = ["on_asyncio"]

# RFC 8785 appendix B
NUMBERS = {
    "0000000000000000": "0", "8000000000000000": "0", "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324", "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308", "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992", "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22", "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23", "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000", "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7", "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332", "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333", "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343", "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}  # fmt: skip


@pytest.mark.parametrize("bits", NUMBERS)
def test_numbers(bits: str) -> None:
    assert number(struct.unpack(">d", bytes.fromhex(bits))[0]) == NUMBERS[bits]


def test_the_example_of_the_rfc() -> None:
    """Section 3.2.2 to 3.2.4."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(value) == expected.encode()


def test_keys_sort_by_utf_16() -> None:
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}
    assert list(json.loads(canonical(value)).values()) == [2, 4, 6, 7, 1, 5, 3]


NO_JSON = [float("nan"), float("inf"), "\ud800", {1: 2}, object(), 10**400, 2**53 + 1, -(2**60) - 1]


@pytest.mark.parametrize("value", NO_JSON)
def test_what_has_no_canonical_form(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical(value)


# --- cards --------------------------------------------------------------------------------------


def pem(private: Any) -> bytes:
    value: bytes = private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    return value


MAKE: dict[str, Callable[[], Any]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "PS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
KEYS = {name: SigningKey(pem(make()), algorithm=name) for name, make in MAKE.items()}


def card(**more: Any) -> t.AgentCard:
    agent = Agent("Ünïcode € 😀", description="It says \"hi\"\n", skills=[
        t.AgentSkill(id="a", name="A", description="", tags=["x"])
    ])  # fmt: skip
    interface = t.AgentInterface(url="https://a.example/a2a", protocol_binding="JSONRPC",
                                 protocol_version="1.0")  # fmt: skip
    return structs.replace(agent.card([interface]), **more)


SECURED: dict[str, Any] = {
    "security_schemes": {
        "mtls": t.SecurityScheme(mtls_security_scheme=t.MutualTlsSecurityScheme()),
        "token": t.SecurityScheme(
            http_auth_security_scheme=t.HTTPAuthSecurityScheme(scheme="bearer", description="")
        ),
    },
    "security_requirements": [t.SecurityRequirement(schemes={"token": t.StringList(list=[])})],
}


def test_the_example_of_the_specification() -> None:
    """Section 8.4.1: required fields stay, set optional ones stay, empty others go."""
    given = t.AgentCard(
        name="Example Agent", description="", supported_interfaces=[], version="",
        capabilities=t.AgentCapabilities(streaming=False, push_notifications=False, extensions=[]),
        default_input_modes=[], default_output_modes=[], skills=[], security_schemes={},
        documentation_url="", signatures=[t.AgentCardSignature(protected="a", signature="b")],
    )  # fmt: skip
    assert payload(given) == (
        b'{"capabilities":{"pushNotifications":false,"streaming":false},"defaultInputModes":[],'
        b'"defaultOutputModes":[],"description":"","documentationUrl":"","name":"Example Agent",'
        b'"skills":[],"supportedInterfaces":[],"version":""}'
    )


def messages_of(message: Descriptor) -> dict[str, Descriptor]:
    """A message and all that it is made of, by name."""
    collected: dict[str, Descriptor] = {}
    waiting = [message]
    while waiting:
        one = waiting.pop()
        if one.file is message.file and one.full_name not in collected:
            collected[one.full_name] = one
            waiting += [field.message_type for field in one.fields if field.message_type]
    return {one.name: one for one in collected.values() if not one.GetOptions().map_entry}


def test_what_stays_when_it_is_empty_is_what_the_proto_file_says() -> None:
    """Section 8.4.1, of every field that a card can have."""
    listed = messages_of(a2a_pb2.AgentCard.DESCRIPTOR)
    assert len(listed) > 15
    for name, message in listed.items():
        kind: type[t.Wire] = getattr(t, name)
        required = {
            field.name
            for field in message.fields
            if REQUIRED in field.GetOptions().Extensions[field_behavior]
        }
        optional = {
            field.name
            for field in message.fields
            if field.has_presence and field.message_type is None
        }
        assert {field.name for field in structs.fields(kind) if field.required} == required
        of_messages = {"params"}
        assert {field for of, field in OPTIONAL if of is kind} - of_messages == optional


def test_an_extension_without_an_address_is_signed_without_one() -> None:
    bare = t.AgentCapabilities(extensions=[t.AgentExtension(uri="", description="x")])
    given = card(capabilities=bare)
    assert b'"extensions":[{"description":"x"}]' in payload(given)
    assert parse_card(card_json(given, "1.0")).capabilities == bare


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("more", [{}, SECURED], ids=["plain", "secured"])
def test_signed_and_verified(algorithm: str, more: dict[str, Any]) -> None:
    key = KEYS[algorithm]
    signed = sign(card(**more), [key])
    received = parse_card(card_json(signed, "1.0"))
    trusted = keys_of({"keys": [key.public_jwk]})
    verified = verify(received, trusted)
    assert (verified.kid, verified.algorithm, verified.form) == (key.kid, algorithm, "spec")
    changed = structs.replace(received, description="It says something else")
    with pytest.raises(SignatureError, match="does not verify"):
        verify(changed, trusted)
    with pytest.raises(SignatureError, match="no trusted key"):
        verify(received, keys_of({"keys": []}))
    other = [one for name, one in KEYS.items() if name != algorithm]
    impostor = [structs.replace(one.public, kid=key.kid) for one in other]
    with pytest.raises(SignatureError):
        verify(received, impostor)
    with pytest.raises(SignatureError):
        verify(received, trusted, algorithms={"ES384"})


def test_several_signatures_for_rotation() -> None:
    signed = sign(sign(card(), [KEYS["ES256"]]), [KEYS["EdDSA"]])
    for name in ("ES256", "EdDSA"):
        assert verify(signed, [KEYS[name].public]).algorithm == name
    unsigned = structs.replace(signed, signatures=None)
    with pytest.raises(SignatureError, match="not signed"):
        verify(unsigned, [KEYS["ES256"].public])


def test_a_card_of_several_shapes_verifies() -> None:
    legacy = t.AgentInterface(url="https://a.example/", protocol_binding="JSONRPC",
                              protocol_version="0.3")  # fmt: skip
    given = card(**SECURED)
    given = structs.replace(given, supported_interfaces=[*given.supported_interfaces, legacy])
    received = parse_card(card_json(sign(given, [KEYS["ES256"]]), "both"))
    assert verify(received, [KEYS["ES256"].public])


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("more", [{}, SECURED], ids=["plain", "secured"])
def test_the_official_sdk_verifies_ours(algorithm: str, more: dict[str, Any]) -> None:
    """By a signature in its own form, whose header says so: it looks over that."""
    key = SigningKey(pem(KEYS[algorithm].private), algorithm=algorithm, sdk_form=True)
    signed = parse_agent_card(json.loads(card_json(sign(card(**more), [key]), "1.0")))
    check = create_signature_verifier(lambda kid, jku: key.public.public, [algorithm])
    check(signed)
    signed.description = "changed"
    with pytest.raises(InvalidSignaturesError):
        check(signed)


def signed_by_the_sdk(algorithm: str, given: t.AgentCard) -> t.AgentCard:
    key = KEYS[algorithm]
    header: Any = {"kid": key.kid, "alg": algorithm, "jku": None, "typ": "JOSE"}
    theirs = parse_agent_card(json.loads(card_json(given, "1.0")))
    made = create_agent_card_signer(key.private, header)(theirs)
    return parse_card(MessageToJson(made).encode())


@pytest.mark.parametrize("algorithm", KEYS)
def test_we_verify_the_official_sdk(algorithm: str) -> None:
    """Where nothing on the card is empty both forms are one."""
    given = card(skills=[t.AgentSkill(id="a", name="A", description="Does it", tags=["x"])])
    verified = verify(signed_by_the_sdk(algorithm, given), [KEYS[algorithm].public])
    assert verified.form == "spec"


@pytest.mark.parametrize("algorithm", KEYS)
def test_what_the_form_of_the_sdk_does_not_protect(algorithm: str) -> None:
    received = signed_by_the_sdk(algorithm, card(**SECURED))
    open_to_all = structs.replace(received, security_requirements=[t.SecurityRequirement()])
    for one in (received, open_to_all):
        with pytest.raises(SdkFormError, match="does not protect empty members"):
            verify(one, [KEYS[algorithm].public])
        # Who asks for it takes both, and learns by what.
        verified = verify(one, [KEYS[algorithm].public], accept_sdk_form=True)
        assert verified.form == "sdk"


@pytest.mark.parametrize("algorithm", KEYS)
def test_of_our_own_cards_every_change_is_seen(algorithm: str) -> None:
    """Also of those with a signature for clients of the SDK: its bytes are the specification's form
    of the card without its requirements."""
    both = SigningKey(pem(KEYS[algorithm].private), algorithm=algorithm, sdk_form=True)
    for key, count in ((KEYS[algorithm], 1), (both, 2)):
        ours = sign(card(**SECURED), [key])
        assert len(ours.signatures or ()) == count
        assert verify(ours, [key.public], accept_sdk_form=True).form == "spec"
        for requirements in (None, [], [t.SecurityRequirement()]):
            changed = structs.replace(ours, security_requirements=requirements)
            with pytest.raises(SignatureError):
                verify(changed, [key.public])
            received = parse_card(card_json(changed, "1.0"))
            with pytest.raises(SignatureError):
                verify(received, [key.public])
    assert verify(received, [both.public], accept_sdk_form=True).form == "sdk"


def test_the_form_of_the_sdk_is_never_taken_for_the_other() -> None:
    """Where nothing else is empty, it has the very bytes of a card that requires nothing."""
    skill = t.AgentSkill(id="a", name="A", description="Does it", tags=["x"])
    given = card(skills=[skill], security_requirements=SECURED["security_requirements"])
    key = SigningKey(pem(KEYS["ES256"].private), sdk_form=True)
    open_to_all = structs.replace(sign(given, [key]), security_requirements=None)
    with pytest.raises(SdkFormError):
        verify(open_to_all, [key.public])


def test_a_flood_of_signatures_is_not_looked_at() -> None:
    signed = sign(card(), [KEYS["ES256"]])
    assert signed.signatures
    (one,) = signed.signatures
    wrong = structs.replace(one, signature="AAAA" * 16)
    few = structs.replace(signed, signatures=[wrong] * 31 + [one])
    assert verify(few, [KEYS["ES256"].public])
    many = structs.replace(signed, signatures=[wrong] * 32 + [one])
    with pytest.raises(SignatureError, match="more than 32"):
        verify(many, [KEYS["ES256"].public])


def test_keys_that_cannot_be_used() -> None:
    with pytest.raises(JoseError, match="private key"):
        SigningKey(KEYS["ES256"].public.public.public_bytes(
            s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))  # fmt: skip
    with pytest.raises(JoseError, match="2048"):
        key_of_pem(pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)))
    with pytest.raises(JoseError, match="does not sign"):
        SigningKey(pem(MAKE["ES256"]()), algorithm="RS256")
    assert keys_of({"keys": [{"kty": "oct", "k": "AAAA"}, {"kty": "RSA"}, {}, 7]}) == []


@pytest.mark.anyio
async def test_a_signed_card_is_served_with_its_keys() -> None:
    agent = Agent("Signed")
    agent.handler(lambda ctx: "hi")
    key, _ = new_key("ada", now=0)
    signing = SigningKey(pem(MAKE["ES256"]()), jku="https://a.example/.well-known/jwks.json")
    security = Security(ApiKeys([key]), signing=[signing])
    with pytest.raises(ValueError, match="public_url"):
        asgi(agent, security=security)
    app = asgi(agent, security=security, public_url="https://a.example")
    async with app.lifespan():
        served = await request(app, "GET", "/.well-known/agent-card.json")
        jwks = await request(app, "GET", "/.well-known/jwks.json")
    assert "d" not in jwks.json["keys"][0]
    assert verify(parse_card(served.body), keys_of(jwks.json)).kid == signing.kid


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, plain, signed = (tmp_path / name for name in ("key.pem", "card.json", "signed.json"))
    key.write_bytes(pem(MAKE["ES256"]()))
    plain.write_bytes(card_json(card(), "1.0"))
    assert main(["card", "sign", str(plain), "--key", str(key), "--kid", "k1"]) == 0
    signed.write_text(capsys.readouterr().out)
    assert main(["card", "verify", str(signed), "--key", str(key)]) == 0
    assert "by key k1" in capsys.readouterr().out
    assert main(["card", "show", str(signed)]) == 0
    assert "ES256 by key k1" in capsys.readouterr().err
    whole = signed.read_text()
    unread = '"signatures": [{"protected": "%", "signature": "%"},'
    signed.write_text(whole.replace('"signatures": [', unread))
    assert main(["card", "verify", str(signed), "--key", str(key)]) == 0
    assert main(["card", "show", str(signed)]) == 0
    assert "ES256 by key k1" in capsys.readouterr().err
    signed.write_text(whole)
    signed.write_text(signed.read_text().replace("It says", "It lies"))
    assert main(["card", "verify", str(signed), "--key", str(key)]) == 1
    assert main(["card", "verify", str(signed)]) == 2
    assert main(["card", "verify", str(plain), "--key", str(key)]) == 1
    assert "not signed" in capsys.readouterr().err


def test_the_command_line_is_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, signed = tmp_path / "key.pem", tmp_path / "signed.json"
    key.write_bytes(pem(KEYS["ES256"].private))
    received = signed_by_the_sdk("ES256", card(**SECURED))
    signed.write_bytes(card_json(received, "1.0"))
    ask = ["card", "verify", str(signed), "--key", str(key)]
    assert main(ask) == 1
    assert "--accept-sdk-form" in capsys.readouterr().err
    assert main([*ask, "--accept-sdk-form"]) == 0
    assert "the official SDK's canonical form" in capsys.readouterr().out
