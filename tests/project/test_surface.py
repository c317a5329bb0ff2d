"""The public surface changes only on purpose."""

import importlib

import pytest

from tests.project.surface import PINNED, PUBLIC, current_surface, faces, shown_names, sort_key


@pytest.mark.parametrize("name", faces())
def test_every_module_without_underscore_says_what_it_shows(name: str) -> None:
    module = importlib.import_module(name)
    names = list(module.__all__)
    assert names == sorted(set(names), key=sort_key)
    assert [n for n in names if not hasattr(module, n)] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_module_shows_nothing_it_does_not_name(name: str) -> None:
    module = importlib.import_module(name)
    assert shown_names(module) - set(module.__all__) == set()


def test_the_surface_is_the_pinned_one() -> None:
    """A new or lost name is a decision: `python -m tests.project.surface` writes it down."""
    assert current_surface() == PINNED.read_text(encoding="utf-8").split()


def test_dir_of_the_package_shows_its_public_names() -> None:
    aqrec = importlib.import_module("aqrec")
    assert set(aqrec.__all__) <= set(dir(aqrec))
