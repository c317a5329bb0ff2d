"""From a URL to a store."""

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aqrec.errors import InvalidInputError
from aqrec.stores import LocalStore, MemoryStore, Store, open_store, register_store
from aqrec.stores import _registry as registry


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))


def test_paths_and_file_urls_open_local_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for url, expected in (
        (tmp_path / "a b", "a b"),
        (str(tmp_path / "a b"), "a b"),
        ((tmp_path / "a b").as_uri(), "a b"),
        (f"FILE://localhost{tmp_path}/a%20b", "a b"),
        ("a b", "a b"),
        ("./x/../a b/", "a b"),
        ("file:a%20b", "a b"),
        ("file:./a%20b/", "a b"),
        (Path("a b"), "a b"),
        ("~/lab", "home/lab"),
        ("file:~/lab", "home/lab"),
        ("file://~/lab", "home/lab"),
        (Path("~/lab"), "home/lab"),
        ("a%20b", "a%20b"),
        ("a?b#c", "a?b#c"),
        ("file:a%3Fb%23c", "a?b#c"),
        ("s3:bucket", "s3:bucket"),
        ("ünï", "ünï"),
        (".", ""),
    ):
        store = open_store(url)
        assert isinstance(store, LocalStore)
        assert store.url == (tmp_path / expected).as_uri(), url
        assert store.local_path("key") == tmp_path / expected / "key"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "not a path"),
        ("a\0b", "not a path"),
        ("file:", "not a path"),
        ("file://server/share", "another host"),
        ("file:///a?b=c", "%3F"),
        ("file:///a#b", "%23"),
        ("~nobody-has-this-name/lab", "not known"),
        (Path("s3://bucket/lab"), "as a string"),
        (Path("memory://lab"), "as a string"),
        ("memory://../up", "not a legal key"),
    ],
)
def test_unusable_urls_are_refused(url: str | Path, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        open_store(url)


def test_memory_urls_open_memory_stores() -> None:
    store = open_store("memory://some/name", storage_options={"append": False})
    assert isinstance(store, MemoryStore)
    assert (store.url, store.supports_append) == ("memory://some/name", False)
    MemoryStore.forget("some/name")


@pytest.mark.parametrize("url", ["memory://x", "file:x", "x", Path("x")])
def test_unknown_options_are_refused(url: str | Path) -> None:
    """A misspelt one would be ignored for ever."""
    with pytest.raises(InvalidInputError, match="apend"):
        open_store(url, storage_options={"apend": False})


@pytest.mark.parametrize("url", ["gs://KEY:SECRET@bucket/x", "az://KEY:SECRET@c/x"])
def test_credentials_in_the_url_of_a_bucket_are_refused_and_not_shown(url: str) -> None:
    for driver in ("fsspec", "obstore"):
        with pytest.raises(InvalidInputError) as caught:
            open_store(url, storage_options={"driver": driver})
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "driver", "module", "extra"),
    [
        ("gs://bucket/lab", "fsspec", "gcsfs", "gcs"),
        ("az://container/lab", "fsspec", "adlfs", "azure"),
        ("abfss://container@account.dfs.core.windows.net/lab", "fsspec", "adlfs", "azure"),
        ("s3://bucket/lab", "obstore", "obstore", "obstore"),
    ],
)
def test_a_driver_that_is_not_installed_says_how_to_install_it(
    url: str, driver: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else real(name))
    with pytest.raises(InvalidInputError, match=re.escape(f"pip install 'aqrec[{extra}]'")):
        open_store(url, storage_options={"driver": driver})


def test_an_unknown_driver_names_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match="'fsspec' or 'obstore', not 'boto'"):
        open_store("s3://bucket/lab", storage_options={"driver": "boto"})


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"file, gcs, gs, .*\bmemory, .*s3") as caught:
        open_store("ftp://user:SECRET@host/x")
    assert "ftp://" in str(caught.value)
    assert "aqrec.stores" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def make(url: str, options: Mapping[str, Any]) -> Store:
    return MemoryStore(url.partition("://")[2], **options)


def test_a_registered_scheme_gets_url_and_options() -> None:
    register_store("test+x", make)
    register_store("test+x", make)
    store = open_store("TEST+X://name", storage_options={"append": False})
    assert (store.url, store.supports_append) == ("memory://name", False)
    MemoryStore.forget("name")


def test_a_scheme_is_taken_over_on_demand_only() -> None:
    with pytest.raises(InvalidInputError, match="replace=True"):
        register_store("memory", make)
    register_store("memory", make, replace=True)
    for bad in ("", "Upper", "a://", "1a", "a b"):
        with pytest.raises(InvalidInputError, match="not a URL scheme"):
            register_store(bad, make)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a package that brings two drivers and a broken one."""
    (tmp_path / "driver_for_test.py").write_text(
        "from aqrec.stores import MemoryStore\n"
        "def make(url, options): return MemoryStore('from-entry-point', **options)\n"
    )
    info = tmp_path / "driver_for_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: driver-for-test\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[aqrec.stores]\nswift = driver_for_test:make\nbroken = driver_for_test:missing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("driver_for_test", None)
    MemoryStore.forget("from-entry-point")


@pytest.mark.usefixtures("installed")
def test_drivers_of_installed_packages_are_found_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not looked for before, or twice."""
    real, asked = importlib.metadata.entry_points, []

    def entry_points(**query: str) -> Any:
        asked.append(query)
        return real(**query)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    open_store("memory://x")
    open_store("relative/path")
    assert asked == []
    for _ in range(2):
        store = open_store("swift://bucket/lab", storage_options={"append": False})
        assert (store.url, store.supports_append) == ("memory://from-entry-point", False)
    assert asked == [{"group": "aqrec.stores", "name": "swift"}]
    with pytest.raises(
        InvalidInputError, match="driver_for_test:missing for broken:// cannot be imported"
    ) as caught:
        open_store("broken://x")
    assert isinstance(caught.value.__cause__, AttributeError)


def test_two_packages_that_want_one_scheme_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [SimpleNamespace(value="a:make"), SimpleNamespace(value="b:make")]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: points)
    with pytest.raises(InvalidInputError, match="a:make, b:make"):
        open_store("double://x")
