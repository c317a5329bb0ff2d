"""``aqrec sync``."""

import json
from pathlib import Path

import pytest

from aqrec.sync import open_recorder
from tests._support.bucket import bucket_url, objects_in
from tests.cli.conftest import QUIET, Cli


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's processes spool to."""
    folder = tmp_path / "spool"
    monkeypatch.setenv("AQREC_SPOOL", str(folder))
    return folder


def record(url: str) -> str:
    with open_recorder(url, experiment="e", mode="offline", options=QUIET) as recorder:
        recorder.log_metrics(step=1, loss=0.5)
    return recorder.id


def test_it_sends_what_was_recorded_offline(cli: Cli, tmp_path: Path, spool: Path) -> None:
    url = bucket_url(tmp_path / "bucket")
    run_id = record(url)
    waiting = cli("sync", "--dry-run", width=None).ok().out
    assert url in waiting
    assert "waiting" in waiting
    assert not objects_in(tmp_path / "bucket")
    done = cli("sync", "--store", url, width=None).ok().out
    assert "1 spool sent" in done
    assert cli("show", run_id, "-s", url).ok()
    assert cli("sync").ok().out == "Nothing waits in the spool.\n"
    assert cli("sync", "--json").json() == {"spools": []}


def test_what_cannot_be_sent_is_told_with_its_place_and_whom_it_waits_for(
    cli: Cli, tmp_path: Path, spool: Path
) -> None:
    url = bucket_url(tmp_path / "bucket")
    (tmp_path / "bucket.away").write_text("")
    record(url)
    ended = cli("sync", "--json")
    (report,) = json.loads(ended.out)["spools"]
    assert ended.code == 1
    assert (report["state"], report["sent"], report["objects"]) == ("failed", 0, 3)
    assert report["folder"].startswith(str(spool))
    assert "away" in report["reason"]
    assert "8 attempts were made; all is kept" in report["reason"]
    lines = ended.err.splitlines()
    assert [line.partition(", since ")[0] for line in lines] == [
        f"{url}: attempt {n} of 8" for n in range(2, 9)
    ]
    assert "the bucket is away" in lines[0]


def test_storage_options_are_given_again(cli: Cli, tmp_path: Path, spool: Path) -> None:
    url = bucket_url(tmp_path / "bucket")
    record(url)
    refused = cli("sync", "-o", "retries=3", "-o", "name=x")
    assert refused.code == 1
    assert "does not know name, retries" in refused.out
    assert cli("sync").ok()
