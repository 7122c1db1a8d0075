"""HTTP, server side: JSON-RPC, REST and server-sent events as one ASGI application."""
