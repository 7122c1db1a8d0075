"""The gate: who may call, how often, and what is written down about it."""
