"""Signatures: what other libraries make of ours, and what the receiver kit makes of everything."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import structs
from standardwebhooks import Webhook

from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.protocol.jose import keys_of
from greenroom.protocol.webhooks import Secret, amp_headers, standard_headers
from greenroom.webhooks import Delivery, WebhookError, receiver, verify
from tests.support.asgi import request
from tests.support.clients import send
from tests.support.receiver import Receiver

from .serving import local, serving, until

pytestmark = pytest.mark.anyio

OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
BODY = b'{"statusUpdate":{"taskId":"t","contextId":"c","status":{"state":"TASK_STATE_COMPLETED"}}}'
NOW = 1_800_000_000


def signed(*secrets: str, body: bytes = BODY, at: int = NOW, **more: Any) -> dict[str, str]:
    return standard_headers("evt_1", at, body, [Secret(text) for text in secrets], **more)


def amp(secret: str, body: bytes = BODY, at: int = NOW) -> dict[str, str]:
    return amp_headers(at, body, Secret(secret))


@pytest.fixture
async def delivered(receiver: Receiver) -> AsyncIterator[list[Any]]:
    """What a server with two secrets and a key sends for one task."""
    webhooks = local(secrets={"*": (NEW, OLD)})
    key = Ed25519PrivateKey.generate()
    async with serving(structs.replace(webhooks, keys=[key])) as served:
        config = t.TaskPushNotificationConfig(url=f"{receiver.url}/hook")
        configuration = t.SendMessageConfiguration(task_push_notification_config=config)
        asked = structs.replace(send("speak"), configuration=configuration)
        assert (await served.call("jsonrpc", ops.SEND, asked)).outcome == "ok"
        await until(receiver, lambda ledger: any(b"COMPLETED" in one.body for one in ledger))
        yield [key.public_key(), *receiver.ledger]


async def test_other_libraries_verify_what_the_server_sends(delivered: list[Any]) -> None:
    public, *ledger = delivered
    assert len(ledger) >= 3
    for one in ledger:
        for secret in (OLD, NEW):  # both, during a rotation
            assert Webhook(secret).verify(one.body, dict(one.headers)) == one.json
        moment = one.headers["x-a2a-signature-timestamp"]
        mac = hmac.new(NEW.encode(), f"{moment}.".encode() + one.body, sha256).hexdigest()
        assert one.headers["x-a2a-signature"] == f"sha256={mac}"
        found = verify(one.headers, one.body, keys=[public])
        assert found.id == one.id
        assert "." not in one.id


async def test_the_key_set_of_the_server_has_the_keys_that_sign(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    path = tmp_path / "push.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    async with (
        serving(local(signing_keys=(str(path),))) as served,
        served.open("GET", "/.well-known/jwks.json", {}, b"") as response,
    ):
        [found] = keys_of(json.loads(await response.read()))
    signature = key.sign(b"x")
    found.public.verify(signature, b"x")


async def test_a_secret_of_the_configuration_signs_and_is_not_sent(receiver: Receiver) -> None:
    async with serving() as served:
        authentication = t.AuthenticationInfo(scheme="HMAC-SHA256", credentials=OLD)
        config = t.TaskPushNotificationConfig(url=receiver.url, authentication=authentication)
        configuration = t.SendMessageConfiguration(task_push_notification_config=config)
        asked = structs.replace(send("speak"), configuration=configuration)
        await served.call("jsonrpc", ops.SEND, asked)
        await until(receiver, lambda ledger: len(ledger) >= 3)
    for one in receiver.ledger:
        assert Webhook(OLD).verify(one.body, dict(one.headers))
        assert "authorization" not in one.headers
        assert OLD not in str(one.headers)


def test_what_another_library_signs_is_verified() -> None:
    from datetime import UTC, datetime

    now = int(time.time())
    signature = Webhook(OLD).sign("msg_1", datetime.fromtimestamp(now, UTC), BODY.decode())
    headers = {
        "Webhook-Id": "msg_1", "Webhook-Timestamp": str(now), "Webhook-Signature": signature,
    }  # fmt: skip
    assert verify(headers, BODY, secrets=[OLD]).id == "msg_1"


def test_either_secret_verifies_during_a_rotation() -> None:
    for headers in (signed(OLD), signed(NEW), signed(OLD, NEW), amp(OLD), amp(NEW)):
        assert verify(headers, BODY, secrets=[NEW, OLD], now=NOW)


@pytest.mark.parametrize("headers", [signed(OLD), amp(OLD)], ids=["standard", "amp"])
@pytest.mark.parametrize(
    ("change", "now"),
    [
        ({}, NOW + 301),
        ({}, NOW - 301),
        ({"webhook-signature": "", "X-A2A-Signature": ""}, NOW),
        ({"webhook-timestamp": str(NOW + 1), "X-A2A-Signature-Timestamp": str(NOW + 1)}, NOW),
        ({"webhook-timestamp": "soon", "X-A2A-Signature-Timestamp": "soon"}, NOW),
        ({"webhook-timestamp": "١٨٠", "X-A2A-Signature-Timestamp": "١٨٠"}, NOW),
    ],
)
def test_what_was_changed_or_is_too_old_is_refused(
    headers: dict[str, str], change: dict[str, str], now: int
) -> None:
    assert verify(headers, BODY, secrets=[OLD], now=NOW)
    wrong = {**headers, **{name: value for name, value in change.items() if name in headers}}
    with pytest.raises(WebhookError):
        verify(wrong, BODY, secrets=[OLD], now=now)


@pytest.mark.parametrize(
    "headers",
    [
        signed(NEW),
        amp(NEW),
        {},
        signed(OLD) | {"webhook-id": "evt_2"},
        signed(OLD) | {"webhook-signature": "v1a," + signed(OLD)["webhook-signature"][3:]},
        signed(OLD) | {"webhook-signature": "v1,é"},
        signed(OLD, body=BODY + b" "),
        {"X-A2A-Signature": "sha256=", "X-A2A-Signature-Timestamp": str(NOW)},
        standard_headers("evt_1", NOW, BODY),
    ],
)
def test_what_somebody_else_sent_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(WebhookError):
        verify(headers, BODY, secrets=[OLD], now=NOW)


def test_without_anything_to_verify_with_nothing_is_believed() -> None:
    with pytest.raises(WebhookError, match="prove"):
        verify(signed(OLD), BODY, now=NOW)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"kind":"x"}', b'{"task":', b"\xff"])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookError, match="event"):
        verify(signed(OLD, body=body), body, secrets=[OLD], now=NOW)


def test_tokens_passwords_and_jwt() -> None:
    basic = "Basic " + base64.b64encode("ann:pä".encode()).decode()

    def no_good(token: str) -> object:
        raise RuntimeError(token)

    good: list[tuple[dict[str, str], dict[str, Any]]] = [
        ({"x-a2a-notification-token": "t"}, {"token": "t"}),
        ({"Authorization": "Bearer b"}, {"bearer": "b"}),
        ({"authorization": basic}, {"basic": ("ann", "pä")}),
        ({"authorization": "Bearer good"}, {"jwt": bool}),
    ]
    for headers, check in good:
        assert verify(headers, BODY, **check)
        for wrong in ({}, {name: value + "x" for name, value in headers.items()}):
            if "jwt" not in check:
                with pytest.raises(WebhookError):
                    verify(wrong, BODY, **check)
    with pytest.raises(WebhookError):
        verify({"authorization": "Bearer bad"}, BODY, jwt=no_good)


async def test_the_application_takes_each_delivery_once() -> None:
    taken: list[Delivery] = []
    fails = [True]

    async def handle(delivery: Delivery) -> None:
        if fails.pop() if fails else False:
            raise RuntimeError("the database is away")
        taken.append(delivery)

    app = receiver(handle, secrets=[OLD], clock=lambda: NOW)

    async def post(headers: dict[str, str], body: bytes = BODY, method: str = "POST") -> int:
        return (await request(app, method, "/", headers=list(headers.items()), body=body)).status

    assert await post(signed(OLD)) == 500  # not taken: the sender sends it again
    assert await post(signed(OLD)) == 204
    assert await post(signed(OLD, at=NOW + 9)) == 200  # a repeat
    assert len(taken) == 1
    event = taken[0].event
    assert isinstance(event, t.StreamResponse)
    assert event.status_update is not None
    assert await post(signed(NEW)) == 401
    assert await post({}, b"") == 401
    assert await post(signed(OLD), method="GET") == 405
    assert await post(amp(OLD)) == 204
    assert await post(amp(OLD)) == 200


async def test_a_server_and_the_application_understand_each_other() -> None:
    """A task of 0.3 is read too."""
    body = json.dumps(
        {"kind": "task", "id": "t", "contextId": "c", "status": {"state": "completed"}}
    ).encode()
    found = verify(signed(OLD, body=body), body, secrets=[OLD], now=NOW)
    assert isinstance(found.event, t.Task)
    assert found.event.status.state is t.TaskState.COMPLETED


def test_a_verifier_of_tokens_that_is_async_lets_nothing_in() -> None:
    async def verifier(token: str) -> None:
        raise AssertionError("nobody awaits it")

    with pytest.raises(WebhookError):
        verify({"authorization": "Bearer any"}, BODY, jwt=verifier)
