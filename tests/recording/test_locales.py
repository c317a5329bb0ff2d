"""Names beyond ASCII where the locale's encoding has none for them."""

from pathlib import Path

from aqrec.options import Options
from aqrec.sync import ExperimentManager
from tests._support import run_script

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
RECORD = r"""
    import os, sys
    from aqrec.options import Options
    from aqrec.sync import ExperimentManager, open_recorder

    assert sys.getfilesystemencoding() == "ascii"
    store, files = "./l\u00e4b", b"out \xc3\xa9"
    os.mkdir(files)
    with open(files + b"/\xc3\xbc.bin", "wb") as file:
        file.write(b"1")
    with open_recorder(store, experiment="\u00e9", name="\u00fc", options=Options(provenance=False)) as recorder:
        recorder.log_metrics(**{"\u00e4": 1.0})
        recorder.save_objects(artifact_path="\u6570", **{"\u00e9.txt": "\u00e9"})
        recorder.log_artifact(os.fsdecode(files))
    with ExperimentManager(store) as manager:
        recorder = manager.get_recorder(recorder_id=recorder.id)
        assert recorder.load_object("\u6570/\u00e9.txt") == "\u00e9"
        assert recorder.list_artifacts() == ["out \u00e9", "\u6570"], ascii(recorder.list_artifacts())
        recorder.download_artifact("\u6570", "there")
"""


def test_names_are_stored_as_utf_8_in_every_locale(tmp_path: Path) -> None:
    """So a process of another locale, which this one is, finds them."""
    run_script(RECORD, cwd=tmp_path, env=ASCII).check()
    assert (tmp_path / "there" / "数" / "é.txt").read_text(encoding="utf-8") == "é"
    with ExperimentManager(str(tmp_path / "läb"), options=Options(provenance=False)) as manager:
        (recorder,) = manager.list_recorders(experiment_name="é").values()
        assert (recorder.name, recorder.list_metrics()) == ("ü", {"ä": 1.0})
        assert recorder.load_object("数/é.txt") == "é"
        assert recorder.load_object("out é/ü.bin") == b"1"
