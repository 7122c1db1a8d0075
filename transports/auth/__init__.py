"""Authentication that needs HTTP of its own: discovery, key sets, introspection."""
