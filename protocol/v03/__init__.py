"""A2A 0.3, and 0.2 which sends no version: another JSON for the same model.

0.3 has two JSON forms. Its JSON-RPC form has ``kind`` tags and lower-case states; its HTTP+JSON
form is what the official clients make of the 0.3 proto file (``content``, ``ROLE_USER``, wrapped
results). Both are read by either codec; each writes its own.
"""

from __future__ import annotations

from .codec import V03, V03_REST, V03_REST_TEXT, V03Codec

__all__ = ["V03", "V03_REST", "V03_REST_TEXT", "V03Codec"]
