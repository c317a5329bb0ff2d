"""The command line in this process, and a store to look into."""

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from aqrec.cli import app
from aqrec.options import Options
from aqrec.sync import ExperimentManager, open_recorder

QUIET = Options(provenance=False)


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def ok(self) -> "Ended":
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self

    def json(self) -> Any:
        return json.loads(self.ok().out)


Cli = Callable[..., Ended]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run ``aqrec ARGS`` in this process; `width` is the terminal's."""
    for name in ("AQREC_URI", "AQREC_DEBUG", "AQREC_TRUST", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: object, width: int | None = 100) -> Ended:
        if width is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([str(arg) for arg in args], prog_name="aqrec")
        out, err = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, out, err)

    return run


class Lab(NamedTuple):
    """A store with three runs of ``alpha`` and a failed one of ``beta``."""

    path: Path
    ids: Sequence[str]
    failed: str
    pred: pd.DataFrame

    @property
    def first(self) -> str:
        return self.ids[0]


LOSS = [math.exp(-step / 20) for step in range(60)]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A store nobody changes."""
    path = tmp_path_factory.mktemp("cli") / "lab"
    rows = pd.MultiIndex.from_product(
        [pd.date_range("2024-01-01", periods=20), ["A", "B"]], names=["datetime", "instrument"]
    )
    pred = pd.DataFrame({"score": np.linspace(-1, 1, len(rows))}, index=rows)
    ids: list[str] = []
    with ExperimentManager(str(path), options=Options()) as manager:
        for number in range(3):
            with manager.get_exp(experiment_name="alpha").create_recorder(f"lgb-{number}") as recorder:
                ids.append(recorder.id)
                recorder.log_params(
                    lr=0.02 * (number + 1),
                    layers=[64, 32],
                    note="x" * 500,
                    shown="\x1b[31mred [bold]not bold[/bold]",
                    infinite=math.inf,
                )
                for step, loss in enumerate(LOSS):
                    recorder.log_metrics(step=step, loss=loss, val_ic=0.03 + loss / 100)
                recorder.log_metrics(ic=0.03 + number / 100, gone=math.nan)
                recorder.log_metrics(free=1.0)
                recorder.log_metrics(free=2.0)
                recorder.set_tags(stage="dev", title="a\x1b]0;owned\x07b")
                recorder.save_objects(**{"pred.pkl": pred})
                things: dict[str, Any] = {
                    "a.json": {"a": [1, 2]},
                    "b.yaml": {"x": 1},
                    "t.txt": "héllo\n\x1b[31mred\n",
                    "c.npy": np.arange(6.0).reshape(2, 3),
                    "raw.bin": b"\xff\x00\x01",
                    "class.pkl": pytest.Item,
                    "wide.parquet": pd.DataFrame({f"column{i}": [i, i + 1] for i in range(40)}),
                }
                recorder.save_objects(artifact_path="conf/deep", **things)
        bad = manager.get_exp(experiment_name="beta").create_recorder("bad")
        with contextlib.suppress(ValueError), bad:
            raise ValueError("boom [red]")
    return Lab(path, ids, bad.id, pred)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., str]:
    """Record a short run in the store ``tmp_path / "own"``; returns its id."""

    def record(**start: Any) -> str:
        with open_recorder(str(tmp_path / "own"), options=QUIET, **start) as recorder:
            recorder.log_metrics(ic=0.1)
        return recorder.id

    return record
