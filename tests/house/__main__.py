"""``python -m tests.house``: count, compare with ``known.toml``, and say what to do."""

from __future__ import annotations

import sys

from .known import count, problems_of_circles, problems_of_lists, read, write
from .source import modules


def main(arguments: list[str]) -> int:
    """Return 1 and print one line a problem if there is any. ``--write`` rewrites the lists."""
    known = read()
    files = modules()
    counts = count(files, known)
    if "--write" in arguments:
        write(counts, known)
        known = read()
    problems = problems_of_circles(counts, known) + problems_of_lists(counts, known)
    for problem in problems:
        print(problem)
    print(
        f"{len(files)} modules: {len(counts.circles)} circles of files, "
        f"{len(counts.private_reaches)} private reaches, {len(counts.lazy_imports)} lazy imports; "
        f"{len(problems)} problems"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
