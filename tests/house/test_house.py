"""No circle of files, and counters that see every way to import and every way to reach."""

from __future__ import annotations

from pathlib import Path

from .circles import arrows, chain, circles
from .known import Counts, Known, count, problems_of_circles, problems_of_lists, read, write
from .reaches import lazy_imports, private_reaches
from .source import Module, modules


def tree(folder: Path, **files: str) -> list[Module]:
    """Write modules ``pkg.<name>`` (``__in__`` is a slash) and read them."""
    for name, text in {"__init__": "", **files}.items():
        path = folder / "pkg" / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return modules(folder, {"pkg": "pkg"})


def found(folder: Path, **files: str) -> list[list[str]]:
    return circles(arrows(tree(folder, **files)))


def test_no_file_imports_itself_by_way_of_others() -> None:
    known = read()
    problems = problems_of_circles(count(modules(), known), known)
    assert problems == []


def test_every_import_counts(tmp_path: Path) -> None:
    top = "from .b import x\n"
    function = "def f():\n    from .a import y\n"
    checking = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import a\n"
    absolute = "import pkg.a\n"
    for number, back in enumerate((function, checking, absolute)):
        folder = tmp_path / str(number)
        assert found(folder, a=top, b=back) == [["pkg/a.py", "pkg/b.py"]]
    assert found(tmp_path / "none", a=top, b="import os\n") == []


def test_a_package_is_entered_by_its_own_file_only_where_that_is_named(tmp_path: Path) -> None:
    files = {"room__in____init__": "from .part import x\n", "room__in__part": "from . import other"}
    assert found(tmp_path / "1", **files, room__in__other="x = 1\n") == []
    back = "from pkg.room import x\n"
    assert found(tmp_path / "2", **files, room__in__other=back) == [
        ["pkg/room/__init__.py", "pkg/room/other.py", "pkg/room/part.py"]
    ]


def test_a_chain_leads_back_to_its_beginning(tmp_path: Path) -> None:
    ways = arrows(tree(tmp_path, a="from . import b", b="from . import c", c="from . import a"))
    [circle] = circles(ways)
    assert chain(circle, ways) == ["pkg/a.py", "pkg/b.py", "pkg/c.py", "pkg/a.py"]


def test_a_reach_is_an_attribute_of_another_object(tmp_path: Path) -> None:
    source = """
class Own:
    def mine(self, other):
        self._a, type(self)._b, super()._c, Own._d, self.__class__._e, other.__dict__
        other._replace(x=1)
    def reaches(self, other):
        other._a
        self.other._b
        other._c = 1
        getattr(other, "_d", None)
        make()._e
        self._f._g
"""
    [module] = [one for one in tree(tmp_path, own=source) if one.path == "pkg/own.py"]
    assert set(private_reaches(module)) == {
        f"pkg/own.py: {reach}"
        for reach in ("other._a", "self.other._b", "other._c", "other._d", "make()._e")
    } | {"pkg/own.py: self._f._g"}


def test_a_lazy_import_is_in_a_function_or_for_checkers(tmp_path: Path) -> None:
    source = """
import os
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from .a import A
else:
    import json
try:
    import extra
except ImportError:
    extra = None
def f():
    import jwt.api
    from . import b
    def g():
        from .c import d
"""
    [module] = [one for one in tree(tmp_path, own=source) if one.path == "pkg/own.py"]
    assert dict(lazy_imports(module, {"jwt"})) == {
        "pkg/own.py: pkg.a": 1,
        "pkg/own.py: pkg": 1,
        "pkg/own.py: pkg.c": 1,
    }


def test_what_is_new_and_what_is_gone_are_problems() -> None:
    counts = Counts([["a", "b"]], [["a", "b", "a"]], {"a: x._y"}, {"a: os"})
    lists = Known([["a", "b"]], {}, {"a: x._y": "why"}, {"a: os": "why"})
    assert problems_of_circles(counts, lists) + problems_of_lists(counts, lists) == []
    assert len(problems_of_circles(counts, Known())) == 1
    assert len(problems_of_lists(counts, Known())) == 2
    none = Counts([], [], set(), set())
    assert len(problems_of_circles(none, lists)) == 1
    assert len(problems_of_lists(none, lists)) == 2
    lists.private_reaches["a: x._y"] = " "
    assert len(problems_of_lists(counts, lists)) == 1


def test_the_lists_are_written_with_their_reasons(tmp_path: Path) -> None:
    counts = Counts([["a", "b"]], [["a", "b", "a"]], {"a: x._y", "a: new._y"}, {"a: os"})
    lists = Known([], {"jwt": 'an "extra"'}, {"a: x._y": "why", "gone": "why"}, {})
    path = tmp_path / "known.toml"
    write(counts, lists, path)
    reaches = {"a: x._y": "why", "a: new._y": ""}
    assert read(path) == Known([["a", "b"]], {"jwt": 'an "extra"'}, reaches, {"a: os": ""})
