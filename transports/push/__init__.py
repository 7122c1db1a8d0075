"""Push notifications over HTTP."""
