"""Redacted and canonical URLs."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.errors import InvalidInputError
from aqrec.stores import LocalStore, canonical_url, redact_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket/lab", "s3://bucket/lab"),
        ("s3://bucket/a@b:c", "s3://bucket/a@b:c"),
        ("s3://key:secret@bucket/lab", "s3://***@bucket/lab"),
        ("s3://key:sec/r+et@bucket/lab", "s3://***@bucket/lab"),
        ("s3://key:7/ecret@bucket/lab", "s3://***@bucket/lab"),
        ("s3://token@bucket/lab", "s3://***@bucket/lab"),
        ("https://user:secret@host:9000/a@b", "https://***@host:9000/a@b"),
        ("https://host:9000/a@b", "https://host:9000/a@b"),
        ("http://[::1]:9000/a@b", "http://[::1]:9000/a@b"),
        ("hdfs://host:8020/user@x", "hdfs://host:8020/user@x"),
        ("az://name:secret/x", "az://name:***"),
        ("s3://key:12345/se/cret", "s3://key:***"),
        ("abfss://name:sec/ret==/c", "abfss://name:***"),
        ("https://user:secret/x?a=b", "https://user:***"),
        ("abfss://container@account.dfs/x", "abfss://container@account.dfs/x"),
        ("abfss://container:secret@account.dfs/x", "abfss://***@account.dfs/x"),
        ("az://c/x?sv=1&sig=secret&flag", "az://c/x?sv=***&sig=***&***"),
        ("s3://b/x?region=eu&token=a@b", "s3://b/x?region=eu&token=***"),
        ("s3://b/x#secret", "s3://b/x#***"),
        ("memory://user@x?y", "memory://user@x?y"),
        ("file:///a@b", "file:///a@b"),
        ("file://user:secret@host/a", "file://***@host/a"),
        ("/plain/path?x=y@z", "/plain/path?x=y@z"),
        ("relative:path@x", "relative:path@x"),
        ("", ""),
    ],
)
def test_urls_are_shown_without_secrets(url: str, expected: str) -> None:
    assert redact_url(url) == expected
    assert redact_url(expected) == expected


SECRET = "S3cr3t"
PLAIN = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=5)
SECRETS = st.text(st.sampled_from("ab/+=:%"), max_size=4).map(lambda text: SECRET + text)


@given(
    scheme=st.sampled_from(["s3", "gs", "az", "https", "ftp", "abfs"]),
    user=PLAIN,
    secret=SECRETS,
    host=PLAIN,
    path=st.text(st.sampled_from("ab/@."), max_size=8),
    where=st.sampled_from(["password", "alone", "user", "query", "fragment"]),
)
def test_no_secret_is_ever_shown(
    scheme: str, user: str, secret: str, host: str, path: str, where: str
) -> None:
    """Wherever it stands, quoted or not, and however often the URL is redacted."""
    url = {
        "password": f"{scheme}://{user}:{secret}@{host}/{path}",
        "alone": f"{scheme}://{user}:{secret}/{path.replace('@', '')}",
        "user": f"{scheme}://{SECRET}:@{host}/{path}",
        "query": f"{scheme}://{host}/{path}?{user}={secret}",
        "fragment": f"{scheme}://{host}/{path}#{secret}",
    }[where]
    shown = redact_url(url)
    assert SECRET not in shown
    if where != "alone" or scheme in {"s3", "gs", "az", "abfs"}:  # elsewhere it may be the name of something
        assert SECRET not in canonical_url(url)
    assert redact_url(shown) == shown


@given(st.text())
def test_any_text_can_be_redacted(text: str) -> None:
    assert redact_url(redact_url(text)) == redact_url(text)


def test_all_spellings_of_a_local_folder_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, absolute, as path and as URL, and through symbolic links of every kind."""
    real = tmp_path.resolve() / "real"
    (real / "a b" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "absolute").symlink_to(real)
    (real / "up").symlink_to("../link/a b/deep/..")
    monkeypatch.chdir(real)
    for spelling in (
        "a b",
        "./a b/",
        "a b/deep/..",
        "up",
        "../link/up",
        "file:a%20b",
        Path("a b"),
        real / "a b",
        str(real / "a b"),
        (real / "a b").as_uri(),
        tmp_path / "link" / "a b",
        tmp_path / "absolute" / "a b",
        f"file://localhost{tmp_path}/absolute//a%20b/.",
    ):
        assert canonical_url(spelling) == (real / "a b").as_uri(), spelling
    assert canonical_url(tmp_path / "link" / "not" / "yet") == (real / "not" / "yet").as_uri()


def test_canonical_urls_stay_as_they_are(tmp_path: Path) -> None:
    for url in (str(tmp_path), "s3://bucket/lab", "memory://name", "abfs://c@account/x"):
        once = canonical_url(url)
        assert canonical_url(once) == once
    assert LocalStore(canonical_url(tmp_path)).url == canonical_url(tmp_path)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("S3://bucket//lab/", "s3://bucket/lab"),
        ("s3://key:secret@bucket/lab?region=eu#x", "s3://bucket/lab"),
        ("abfs://container@account/x/", "abfs://container@account/x"),
        ("memory://", "memory://"),
        ("MEMORY://name/", "memory://name"),
    ],
)
def test_other_urls_have_one_spelling(url: str, expected: str) -> None:
    assert canonical_url(url) == expected


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InvalidInputError, match="too many symbolic links"):
        canonical_url(tmp_path / "a" / "lab")


def test_a_deleted_working_directory_matters_to_relative_paths_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # goes back at the end
    (tmp_path / "gone").mkdir()
    os.chdir("gone")
    (tmp_path / "gone").rmdir()
    lab = str(tmp_path / "lab")
    assert canonical_url(lab) == canonical_url(f"file://{lab}") == Path(lab).as_uri()
    assert canonical_url("s3://bucket/lab") == "s3://bucket/lab"
    for relative in ("./lab", "lab", "file:lab"):
        with pytest.raises(
            InvalidInputError, match="lab' starts at the working directory, which was deleted"
        ):
            canonical_url(relative)
