"""Ends that are refused; async."""

import pytest

import aqrec
from aqrec.errors import InvalidInputError
from aqrec.options import Options
from aqrec.sync import STATUS_R


async def test_a_refused_end_changes_nothing(memory_url: str) -> None:
    async with aqrec.open_recorder(memory_url, options=Options(provenance=False)) as recorder:
        with pytest.raises(InvalidInputError, match="status 'DONE'"):
            await recorder.end_run("DONE")
        assert recorder.status == STATUS_R
        assert await aqrec.R.get_recorder() == recorder
