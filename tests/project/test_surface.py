"""The public surface changes only on purpose."""

import importlib

import pytest

from tests.project.surface import PINNED, current_surface, public_modules, shown_names, sort_key


@pytest.mark.parametrize("name", public_modules())
def test_every_public_module_says_what_it_shows(name: str) -> None:
    module = importlib.import_module(name)
    names = list(module.__all__)
    assert names == sorted(set(names), key=sort_key)
    assert [n for n in names if not hasattr(module, n)] == []
    assert shown_names(module) - set(names) == set(), "public by its name, missing from __all__"


def test_the_surface_is_the_pinned_one() -> None:
    """A new or lost name is a decision: `python -m tests.project.surface` writes it down."""
    assert current_surface() == PINNED.read_text(encoding="utf-8").split()


def test_dir_of_the_package_shows_its_public_names() -> None:
    aqrec = importlib.import_module("aqrec")
    assert set(aqrec.__all__) <= set(dir(aqrec))
