"""Where a stranger's URL may lead, and where a name is resolved once and not again."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network
from typing import Any

import anyio
import pytest

from greenroom.transports.client.addresses import ANY, PUBLIC, AddressPolicy, is_public
from greenroom.transports.client.http import AddressRefusedError, HttpClient, HttpError
from greenroom.transports.client.proxies import proxy_for
from greenroom.transports.client.urls import Origin, origin_of, parse, redacted


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2002:c0a8:1::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2620:4f:8000::1",
    "3fff::1",
    "100::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:127.0.0.1",
    "4000::1",
]
IS_PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "168.63.129.17",
    "2606:4700::1111",
    "2a00:1450::1",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
    "2002:101:101::1",
    "2001:4860:4860::8888",
]


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_what_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))
    with pytest.raises(AddressRefusedError, match="not a public address"):
        PUBLIC.check_address(text, "hook.example")
    ANY.check_address(text, "hook.example")


@pytest.mark.parametrize("text", IS_PUBLIC)
def test_what_is_public(text: str) -> None:
    assert is_public(ip_address(text))
    PUBLIC.check_address(text, "hook.example")


REFUSED = [
    "http://hook.example/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://2130706433/",
    "https://1.2.3.4.5/",
    "https://127.0.0.1./",
    "https://１２７.0.0.1/",
    "https://127。0。0。1/",
    "https://①②⑦.0.0.1/",
    "https://[::1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[0:0:0:0:0:ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1%25eth0]/",
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://a.localhost/",
    "https://metadata.google.internal/",
    "https://metadata/",
    "https://instance-data.ec2.internal/",
    "https://printer.local/",
    "https://router.home.arpa/",
    "https://localhost.localdomain/",
    "https://ｌｏｃａｌｈｏｓｔ/",
    "https://me:secret@hook.example/",
    "https://me@hook.example/",
    "https://hook.example:22/",
    "https://hook.example:25/",
    "https://hook.example:0/",
    "https://hook.example:99999/",
    "ftp://hook.example/",
    "file:///etc/passwd",
    "gopher://hook.example/",
    "unix:///var/run/docker.sock",
    "//hook.example/",
    "https:///path",
    "https://",
    "https://hook example/",
    "https://hook%2eexample/",
    "https://hook.example\\@127.0.0.1/",
    "https://[::1/",
    "https://[not-an-address]/",
    "",
]


@pytest.mark.parametrize("url", REFUSED)
def test_urls_that_a_stranger_may_not_give(url: str) -> None:
    with pytest.raises(HttpError) as raised:
        PUBLIC.check_url(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://hook.example/a?b#c", Origin("https", "hook.example", 443)),
        ("HTTPS://HOOK.example:8443/", Origin("https", "hook.example", 8443)),
        ("https://bücher.example/", Origin("https", "xn--bcher-kva.example", 443)),
        ("https://hook.example./", Origin("https", "hook.example.", 443)),
        ("https://[2606:4700::1111]:443/", Origin("https", "2606:4700::1111", 443)),
        ("https://8.8.8.8/", Origin("https", "8.8.8.8", 443)),
    ],
)
def test_urls_that_a_stranger_may_give(url: str, origin: Origin) -> None:
    assert PUBLIC.check_url(url) == origin


def test_what_an_operator_allows_besides() -> None:
    near = AddressPolicy(
        schemes=("http", "https"),
        low_ports=(80, 443, 25),
        hosts=("hooks.internal",),
        networks=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")),
    )
    for url in ("http://hooks.internal:22/", "https://10.1.2.3/", "http://[::ffff:10.1.2.3]:25/"):
        near.check_url(url)
    near.check_address("127.0.0.1", "hooks.internal")
    near.check_address("fd00::1", "hook.example")
    for address in ("10.2.0.1", "127.0.0.1", "fe80::1"):
        with pytest.raises(AddressRefusedError):
            near.check_address(address, "hook.example")


def test_an_address_is_shown_without_its_password() -> None:
    assert redacted("https://me:s3cret@h/a@b") == "https://h/a@b"
    assert str(parse("https://me:s3cret@h:443/x y?q")) == "https://h/x%20y"
    for odd in ("ftp://me:s3cret@h/", "https://me:s3cret@h:99999/", "http://me:s3cret@"):
        with pytest.raises(HttpError) as raised:
            parse(odd)
        assert "s3cret" not in str(raised.value)


def resolving(*answers: str) -> tuple[Any, list[str]]:
    """A resolver that gives every name these addresses, and the names it was asked for."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [
            (
                socket.AF_INET6 if ":" in answer else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (answer, port),
            )
            for answer in answers
        ]

    return getaddrinfo, asked


@pytest.mark.anyio
@pytest.mark.parametrize("answers", [("127.0.0.1",), ("1.1.1.1", "10.0.0.1"), ("::1", "8.8.8.8")])
async def test_one_near_address_among_the_answers_refuses_the_name(
    answers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver, asked = resolving(*answers)
    monkeypatch.setattr(anyio, "getaddrinfo", resolver)
    with pytest.raises(AddressRefusedError, match="not a public address"):
        async with HttpClient(policy=PUBLIC).request("GET", "https://hook.example/"):
            pass
    assert asked == ["hook.example"]


@pytest.mark.anyio
async def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that leads elsewhere when it is asked for again, as rebinding does."""
    resolver, asked = resolving("127.0.0.2", "127.0.0.1")
    monkeypatch.setattr(anyio, "getaddrinfo", resolver)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    seen: list[bytes] = []

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            seen.append(await stream.receive())
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")

    policy = AddressPolicy(schemes=("http",), networks=(ip_network("127.0.0.0/8"),))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        async with HttpClient(policy=policy).request("GET", f"http://hook.example:{port}/") as got:
            assert await got.read() == b"hi"
        tasks.cancel_scope.cancel()
    await listener.aclose()
    assert asked == ["hook.example"]
    assert f"Host: hook.example:{port}".encode() in seen[0]


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://a.example", {"http_proxy": "http://p:3128"}, "http://p:3128"),
        ("http://a.example", {"HTTP_PROXY": "p:3128"}, "http://p:3128"),
        ("http://a.example", {"HTTP_PROXY": "http://p", "REQUEST_METHOD": "GET"}, None),
        ("http://a.example", {"HTTP_PROXY": "http://p", "http_proxy": "http://q"}, "http://q"),
        ("https://a.example", {"http_proxy": "http://p"}, None),
        ("https://a.example", {"HTTPS_PROXY": "http://p"}, "http://p"),
        ("https://a.example", {"ALL_PROXY": "http://p"}, "http://p"),
        ("http://a.example", {}, None),
        ("http://a.example", {"http_proxy": "http://p", "NO_PROXY": "*"}, None),
        ("http://a.example", {"http_proxy": "http://p", "NO_PROXY": "b, A.example"}, None),
        ("http://x.a.example", {"http_proxy": "http://p", "NO_PROXY": ".a.example"}, None),
        ("http://x.a.example", {"http_proxy": "http://p", "NO_PROXY": "*.a.example"}, None),
        ("http://ba.example", {"http_proxy": "http://p", "NO_PROXY": "a.example"}, "http://p"),
        ("http://a.example:81", {"http_proxy": "http://p", "NO_PROXY": "a.example:80"}, "http://p"),
        ("http://a.example:80", {"http_proxy": "http://p", "NO_PROXY": "a.example:80"}, None),
        ("http://10.1.2.3", {"http_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, None),
        ("http://127.0.0.1:5", {"http_proxy": "http://p", "no_proxy": "127.0.0.1"}, None),
        ("http://[::1]:5", {"http_proxy": "http://p", "no_proxy": "[::1]"}, None),
        ("http://[::1]:5", {"http_proxy": "http://p", "no_proxy": "::1"}, None),
    ],
)
def test_which_proxy(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(origin_of(url), environ) == proxy
