"""Rules of the production code that no other tool checks; ``python -m tests.house`` counts."""
