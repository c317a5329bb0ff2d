from __future__ import annotations

import os
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqrec.provenance import selected_environment
from aqrec.provenance._redaction import redact_url

words = st.text(string.ascii_letters + string.digits + "%._-", min_size=1, max_size=12)


def test_qlibs_variables_by_default(monkeypatch):
    monkeypatch.setenv("_QLIB_REGION", "cn")
    monkeypatch.setenv("QLIB_REGION", "us")

    assert selected_environment() == {"_QLIB_REGION": "cn"}


def test_patterns(monkeypatch):
    """Patterns are shell patterns, case counts, and the result is sorted."""
    for name in ("AQ_B", "AQ_A", "aq_c", "AQ_LONG"):
        monkeypatch.setenv(name, name.lower())

    assert list(selected_environment(["AQ_?"]).items()) == [("AQ_A", "aq_a"), ("AQ_B", "aq_b")]
    assert selected_environment("AQ_L*") == {"AQ_LONG": "aq_long"}
    assert selected_environment([]) == {}


@pytest.mark.parametrize(
    "name",
    ["AQ_API_KEY", "AQ_token", "AQ_SECRET_NAME", "AQ_PASSWORD", "AQ_PASSWD", "AQ_CREDENTIALS", "AQ_KeyFile"],
)
def test_secrets_are_masked_unless_named(monkeypatch, name):
    monkeypatch.setenv(name, "hunter2")

    assert selected_environment(["AQ_*"]) == {name: "***"}
    assert selected_environment(["*"])[name] == "***"
    assert selected_environment([name[:-1] + "?"]) == {name: "***"}
    assert selected_environment(["AQ_*", name]) == {name: "hunter2"}


def test_credentials_inside_urls_are_removed(monkeypatch):
    url = "postgresql://ada:hunter2@db.example.org:5432/lab?password=hunter2"
    monkeypatch.setenv("AQ_DATABASE", url)

    assert selected_environment(["AQ_*"]) == {"AQ_DATABASE": "postgresql://db.example.org:5432/lab"}
    assert selected_environment(["AQ_DATABASE"]) == {"AQ_DATABASE": url}


def test_bytes_that_are_not_utf8(monkeypatch):
    monkeypatch.setenv("AQ_NAME", os.fsdecode(b"caf\xe9"))

    assert selected_environment(["AQ_*"]) == {"AQ_NAME": r"caf\udce9"}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://token@example.org/a", "https://example.org/a"),
        ("https://example.org/a?sig=abc#x", "https://example.org/a"),
        ("https://u:p@ss@example.org/a", "https://example.org/a"),
        ("https://u:p/w#d@example.org/a", "https://example.org/a"),
        ("https://example.org:8443/scope@1.0/a", "https://example.org:8443/scope@1.0/a"),
        ("git+ssh://git@example.org/a", "git+ssh://git@example.org/a"),
        ("https://@example.org/a", "https://example.org/a"),
        ("s3://id:key@bucket/a, file:///tmp/b", "s3://bucket/a, file:///tmp/b"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("no url: a@b", "no url: a@b"),
    ],
)
def test_redacted_url(text, kept):
    assert redact_url(text) == kept


@given(st.sampled_from(["https", "s3", "ssh", "mongodb+srv"]), words, words, words, words)
def test_no_password_survives(scheme, user, password, host, path):
    """Whatever the URL, the password is gone and the address stays."""
    marked = f"<{password}>".replace("<", "Zq").replace(">", "qZ")

    redacted = redact_url(f"before {scheme}://{user}:{marked}@{host}/{path}?key={marked} after")

    assert marked not in redacted
    assert f"{host}/{path}" in redacted
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")


@given(st.text(max_size=200))
def test_redaction_is_final(text):
    assert redact_url(redact_url(text)) == redact_url(text)


@pytest.mark.timeout(10)
def test_long_values_are_searched_in_linear_time():
    assert redact_url("a" * 200_000) == "a" * 200_000
    assert len(redact_url("https://" + "a:" * 100_000)) == 200_008
