"""A clean `R` for each test, and a store whose writing can be held up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aqrec.options import Options
from aqrec.recording._default import defaults
from aqrec.stores import register_store
from aqrec.sync import R
from tests.sync.gates import Gate, gated_store


@pytest.fixture
def quick() -> Options:
    """Options without provenance, which asks git and the package database at each start."""
    return Options(provenance=False)


@pytest.fixture
def clean_r(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick: Options) -> Iterator[None]:
    """Give `R` its first defaults, an empty folder to work in, and close it behind the test."""
    monkeypatch.delenv("AQREC_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("uri", None),
        ("options", quick),
        ("storage_options", None),
        ("default_exp_name", "Experiment"),
    ):
        monkeypatch.setattr(defaults, name, value)
    yield
    R.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Open gate of the store ``gated://store``: while it is shut, nothing is written."""
    gate = Gate()
    register_store("gated", lambda url, _: gated_store(gate), replace=True)
    yield gate
    gate.open()
