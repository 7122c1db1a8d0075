"""The four root folders are the package: nothing is lost between checkout and wheel."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import greenroom
from tests.support.paths import ROOT

LAYERS = ("protocol", "runtime", "stores", "transports")


@pytest.mark.parametrize("layer", LAYERS)
def test_every_module_in_the_folder_is_importable_under_the_package(layer: str) -> None:
    on_disk = {
        ".".join(("greenroom", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        for path in (ROOT / layer).rglob("*.py")
    }
    package = importlib.import_module(f"greenroom.{layer}")
    assert {package.__name__, *modules(package.__path__, package.__name__)} == on_disk


def modules(path: Iterable[str], package: str) -> Iterator[str]:
    """Every module below a package, found without importing it: extras may not be installed."""
    for module in pkgutil.iter_modules(path):
        name = f"{package}.{module.name}"
        yield name
        if module.ispkg:
            yield from modules([f"{folder}/{module.name}" for folder in path], name)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_folder_is_the_one_that_is_imported(layer: str) -> None:
    here = Path(greenroom.__file__).parent / layer
    if "site-packages" in here.parts:
        assert here.is_dir()  # a wheel has the files themselves
    else:
        assert here.resolve() == ROOT / layer


def test_every_layer_is_in_every_list_of_the_packaging() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    wheel, sdist = settings["targets"]["wheel"], settings["targets"]["sdist"]
    for layer in LAYERS:
        assert f"/src/greenroom/{layer}" in settings["exclude"]
        assert layer in wheel["only-include"]
        assert wheel["sources"][layer] == f"greenroom/{layer}"
        assert f"/{layer}" in sdist["include"]


def test_no_module_is_called_after_nothing() -> None:
    vague = {"utils", "helpers", "common", "base", "manager", "misc"}
    named = {path.stem for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    assert not vague & named
