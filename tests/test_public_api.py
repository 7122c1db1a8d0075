"""What `import greenroom` gives, and what it does not load."""

from __future__ import annotations

import re
import subprocess
import sys
from types import ModuleType

import pytest

import greenroom
from greenroom import auth, client, testing
from greenroom.protocol import errors, types
from greenroom.runtime import extensions
from tests.support.paths import ROOT

HEAVY = {
    "hypercorn", "h11", "h2", "wsproto", "aiosqlite", "sqlite3", "trio", "uvloop",
    "greenroom.transports.http.asgi", "greenroom.transports.server.entrypoint",
    "greenroom.client", "greenroom.transports.client.peer",
    "greenroom.stores.sqlite", "greenroom.stores.memory", "greenroom.cli.main", "greenroom.testing",
}  # fmt: skip


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return set(result.stdout.decode().split())


def test_import_loads_no_server_and_no_driver() -> None:
    assert not HEAVY & loaded_after("import greenroom")


def test_an_application_on_memory_loads_no_driver_and_no_server() -> None:
    code = "import greenroom; a = greenroom.Agent('A'); a.handler(print); greenroom.asgi(a)"
    assert not {"hypercorn", "h11", "aiosqlite", "sqlite3"} & loaded_after(code)


@pytest.mark.parametrize("module", [auth, client, testing, types, errors, extensions])
def test_every_module_that_is_public_says_which_names_are(module: ModuleType) -> None:
    page = (ROOT / "docs" / "public-api.md").read_text(encoding="utf-8")
    assert f"`{module.__name__}" in page
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name).__doc__, name


@pytest.mark.parametrize("name", greenroom.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(greenroom, name)
    assert found.__doc__


@pytest.mark.parametrize(
    "name", [name for name in vars(types) if isinstance(getattr(types, name), type(types.Wire))]
)
def test_every_type_of_the_data_model_says_what_it_is(name: str) -> None:
    kind = getattr(types, name)
    meaning = re.sub(r"\(?[Ss]ection [\d.]+\)?:?", "", vars(kind).get("__doc__") or "")
    assert len(meaning.split()) >= 4, f"{name}: {meaning!r}"


def test_public_names_are_sorted_and_complete() -> None:
    assert greenroom.__all__ == sorted(greenroom.__all__)
    for expected in (
        "Agent", "TaskContext", "InputRequired", "Runtime", "serve", "asgi",
        "Principal", "Reason", "TaskRejected", "Retry", "TaskScope", "StepFailed", "StepInfo",
        "TaskCancelled", "step_info",
    ):  # fmt: skip
        assert expected in greenroom.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Agnet'"):
        greenroom.Agnet  # noqa: B018


def test_the_former_name_of_task_rejected_warns_and_works() -> None:
    with pytest.warns(DeprecationWarning, match="import TaskRejected") as warned:
        from greenroom import Rejected
    assert Rejected is greenroom.TaskRejected
    assert warned[0].filename == __file__
    assert "Rejected" not in greenroom.__all__
