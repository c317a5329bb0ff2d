from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.provenance import packages


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_agrees_with_importlib():
    """The quick look finds what the interpreter's own metadata finds."""
    expected: dict[str, str] = {}
    for found in importlib.metadata.distributions():
        expected.setdefault(normalised(found.name), found.version)

    assert packages() == dict(sorted(expected.items()))


@pytest.mark.parametrize(
    ("entry", "name", "version"),
    [
        ("Foo_Bar.baz-1.2.3.dist-info", "foo-bar-baz", "1.2.3"),
        ("torch-2.4.0+cu121.dist-info", "torch", "2.4.0+cu121"),
        ("old-3.0-py3.11.egg-info", "old", "3.0"),
        ("old-3.0-py3.11-linux-x86_64.egg-info", "old", "3.0"),
        ("two-parts-1.0.dist-info", "two-parts", "1.0"),
        ("plain-1.0.egg-info", "plain", "1.0"),
    ],
)
def test_names_of_metadata_folders(tmp_path, monkeypatch, entry, name, version):
    (tmp_path / entry).mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    assert packages() == {name: version}


@pytest.mark.parametrize("as_file", [True, False])
def test_version_from_metadata_where_the_name_has_none(tmp_path, monkeypatch, as_file):
    """A project installed in place names its version only inside."""
    info = tmp_path / "my_project.egg-info"
    text = "Metadata-Version: 2.1\nName: my-project\nVersion: 0.3.dev1\n"
    if as_file:
        info.write_text(text)
    else:
        info.mkdir()
        (info / "PKG-INFO").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    assert packages() == {"my-project": "0.3.dev1"}


def test_first_on_the_path_wins(tmp_path, monkeypatch):
    for folder, version in (("first", "1.0"), ("second", "2.0")):
        (tmp_path / folder / f"thing-{version}.dist-info").mkdir(parents=True)
    (tmp_path / "second" / "other-5.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])

    assert packages() == {"other": "5", "thing": "1.0"}


def test_rest_of_a_broken_upgrade(tmp_path, monkeypatch):
    """Of two versions in one folder the one written last counts, and what pip could not remove does not."""
    for version, written in (("1.9", 2_000), ("1.26", 1_000)):
        info = tmp_path / f"thing-{version}.dist-info"
        info.mkdir()
        os.utime(info, (written, written))
    (tmp_path / "~thing-9.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    assert packages() == {"thing": "1.9"}


def test_strange_paths(tmp_path, monkeypatch):
    """What is no folder or names no version is passed over; the empty path is the current folder."""
    (tmp_path / "lib.zip").write_bytes(b"PK")
    (tmp_path / "here-1.dist-info").mkdir()
    (tmp_path / "broken.egg-info").mkdir()
    (tmp_path / "-1.0.dist-info").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "lib.zip"), "/no/such", Path("/x"), ""])

    assert packages() == {"here": "1"}


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,8}([_.][A-Za-z0-9]{1,4}){0,2}", fullmatch=True).map(str.lower),
        st.from_regex(
            r"[0-9]{1,2}(\.[0-9]{1,2}){0,3}((a|b|rc|\.dev)[0-9])?(\+[a-z0-9.]{1,6}[a-z0-9])?", fullmatch=True
        ),
        max_size=5,
    ),
)
def test_every_name_and_version_is_read_back(tmp_path_factory, installed):
    folder = tmp_path_factory.mktemp("site")
    for name, version in installed.items():
        (folder / f"{name}-{version}.dist-info").mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder)])
        found = packages()

    assert set(found) == {normalised(name) for name in installed}
    assert set(found.values()) <= set(installed.values())
