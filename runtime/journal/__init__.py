"""The journal: what an entry is, how entries are committed, folded and read."""
