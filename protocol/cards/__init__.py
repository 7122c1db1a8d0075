"""Agent cards: their shapes by version, signatures and what a signature covers."""
