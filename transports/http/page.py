"""What a browser shows at an agent's address: a plain page of what the card says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from ...protocol.types import AgentCard, AgentInterface
from .exchange import Headers

HEADERS: Headers = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"x-content-type-options", b"nosniff"),
]

_WEIGHT = re.compile(rb";\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*(?:;|\Z)", re.IGNORECASE)
_STYLE = "body{font:16px/1.5 sans-serif;max-width:44em;margin:2em auto;padding:0 1em}"


def wanted(accept: bytes) -> bool:
    """Whether ``Accept`` prefers HTML to JSON, as that of browsers does (RFC 9110 section 12.5.1).

    Only types that are named count: ``*/*`` is what programs send.
    """
    if b"html" not in accept.lower():
        return False
    html = json = 0.0
    for entry in accept.lower().split(b","):
        kind = entry.partition(b";")[0].strip()
        weight = _WEIGHT.search(entry)
        quality = 1.0 if weight is None else float(weight[1])
        if kind in (b"text/html", b"application/xhtml+xml"):
            html = max(html, quality)
        elif kind in (b"application/json", b"application/a2a+json"):
            json = max(json, quality)
    return html > json


def page(card: AgentCard, interfaces: Sequence[AgentInterface], address: str) -> bytes:
    """Return the page of an agent that is served at ``interfaces``; ``address`` is that of its
    card."""
    skills = [
        f"<li><strong>{escape(skill.name)}</strong> {escape(skill.description)}</li>"
        for skill in card.skills
    ]
    served = [
        f"<li>{escape(one.protocol_binding)} {escape(one.protocol_version)}: "
        f"<code>{escape(one.url)}</code></li>"
        for one in interfaces
    ]
    documentation = card.documentation_url or ""
    if documentation.startswith(("https://", "http://")):
        documentation = f'<p><a href="{escape(documentation)}">Documentation</a></p>'
    else:
        documentation = ""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(card.name)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(card.name)}</h1><p>{escape(card.description)}</p>{documentation}"
        f"<p>This is the address of an A2A agent, version {escape(card.version)}. Programs send "
        f'messages to it. They read <a href="{escape(address)}">its card</a> first.</p>'
        f"<h2>Skills</h2><ul>{''.join(skills)}</ul>"
        f"<h2>Addresses</h2><ul>{''.join(served)}</ul></body></html>"
    )
    return text.encode("utf-8", "replace")
