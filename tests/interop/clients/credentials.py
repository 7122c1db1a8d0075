# mypy: ignore-errors
"""What programs with the official SDK write around it to hold credentials, for both versions of it.

A credential is a text, or `{"client": [id, secret]}` of a program that gets its tokens where the
card says. A scheme is told as (kind, name, location): `("apiKey", "session", "cookie")`.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from pathlib import Path

import grpc
import httpx


def tls_context(files):
    """For httpx; `files` are `{"ca", "cert", "key"}`, the pair only where the client has one."""
    if files is None:
        return True
    context = ssl.create_default_context(cafile=files["ca"])
    if "cert" in files:
        context.load_cert_chain(files["cert"], files["key"])
    return context


def channels(files, interceptors=()):
    """For gRPC: the factory of channels that the SDK asks for."""
    if files is None:
        return lambda address: grpc.aio.insecure_channel(address, interceptors=interceptors)
    pair = [Path(files[one]).read_bytes() for one in ("key", "cert") if one in files]
    credentials = grpc.ssl_channel_credentials(Path(files["ca"]).read_bytes(), *pair)
    return lambda address: grpc.aio.secure_channel(address, credentials, interceptors=interceptors)


async def granted(token_url, client, scopes):
    """A token for the program itself (RFC 6749 section 4.4)."""
    form = {"grant_type": "client_credentials", "scope": " ".join(scopes)}
    async with httpx.AsyncClient() as http:
        answer = await http.post(token_url, data=form, auth=tuple(client))
    return answer.raise_for_status().json()["access_token"]


async def token_endpoint(discovery_url):
    async with httpx.AsyncClient() as http:
        return (await http.get(discovery_url)).raise_for_status().json()["token_endpoint"]


def presented(scheme, credential):
    """Header fields and query parameters that present a credential as the scheme says."""
    kind, name, location = scheme
    if kind == "basic":
        return {"Authorization": "Basic " + b64encode(credential.encode()).decode()}, {}
    if kind == "bearer":
        return {"Authorization": f"Bearer {credential}"}, {}
    if location == "cookie":
        return {"Cookie": f"{name}={credential}"}, {}
    return ({name: credential}, {}) if location == "header" else ({}, {name: credential})


def refusal(cause):
    """The status that a call was refused with, and the challenge that came with it."""
    if isinstance(cause, httpx.HTTPStatusError):
        challenge = cause.response.headers.get("www-authenticate", "")
        return {"status": cause.response.status_code, "challenge": challenge}
    if isinstance(cause, grpc.aio.AioRpcError):
        challenge = dict(cause.trailing_metadata() or ()).get("www-authenticate", "")
        return {"status": cause.code().name, "challenge": challenge}
    return None
