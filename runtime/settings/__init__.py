"""Settings of the runtime and how they are checked and described."""
