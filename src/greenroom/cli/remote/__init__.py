"""Commands for agents elsewhere, with the words, exit codes and JSON of the a2a-cli specification
0.2: ``send --agent-card``, ``task``, ``card get`` and ``auth login``."""
