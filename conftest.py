"""Runs the Python blocks of README and docs as tests."""

import os
import shutil
import tempfile
from pathlib import Path

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from aqrec.sync import R


def _use_folder(namespace):
    namespace["_back"] = str(Path.cwd())
    os.chdir(tempfile.mkdtemp(prefix="aqrec-docs-"))


def _leave_folder(namespace):
    R.close()
    folder = str(Path.cwd())
    os.chdir(namespace["_back"])
    shutil.rmtree(folder)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    setup=_use_folder,
    teardown=_leave_folder,
).pytest()


def pytest_configure(config):
    """Keep the spools of tests, of documentation and of the processes they start out of the user's home."""
    folder = tempfile.mkdtemp(prefix="aqrec-spool-")
    config.add_cleanup(lambda: shutil.rmtree(folder))
    os.environ["AQREC_SPOOL"] = folder
    os.environ.pop("AQREC_MODE", None)
