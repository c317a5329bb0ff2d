"""A recorder driven at random agrees with a plain model of what was recorded, live and after reopening the store."""

import contextlib
import itertools
import math
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from aqrec import BufferOptions, FlushOptions, Options
from aqrec.errors import InvalidInputError, LoadObjectError, ParamConflictError
from aqrec.sync import ExperimentManager, Recorder

KEYS = st.sampled_from(["loss", "val/acc", "a b", "ü"])
NUMBERS = st.one_of(st.floats(), st.integers(-(2**53), 2**53))
STEPS = st.one_of(st.none(), st.integers(-5, 5), st.sampled_from([-(2**63), 2**63 - 1]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
PATHS = st.sampled_from(["a.json", "b.pkl", "folder/c.json", "folder/deep/d"])
SEALS = st.sampled_from(["run", "bulk", "never"])


class ModelRun:
    """What the store must hold of one run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = "SCHEDULED"
        self.params: dict[str, Any] = {}
        self.tags: dict[str, Any] = {}
        self.points: dict[str, list[tuple[int | None, float]]] = {}
        self.artifacts: dict[str, Any] = {}
        self.deleted = False


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal with their types, and NaN equals NaN."""
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


class RecorderMachine(RuleBasedStateMachine):
    """Rules do to the recorder and to the model the same."""

    url: str
    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, ModelRun] = {}
        self.open: dict[str, Recorder] = {}
        self.names = itertools.count()
        self.folder = tempfile.TemporaryDirectory()
        self.manager: ExperimentManager

    def make_url(self) -> str:
        return self.folder.name

    def make_manager(self) -> ExperimentManager:
        return ExperimentManager(self.make_url(), options=self.options)

    @initialize(seal=SEALS, capacity=st.sampled_from([1, 3, 1000]))
    def begin(self, seal: Any, capacity: int) -> None:
        self.options = Options(
            seal=seal,
            provenance=False,
            buffer=BufferOptions(capacity=capacity),
            flush=FlushOptions(hand_over_interval=0.001, journal_bytes=4096),
        )
        self.manager = self.make_manager()

    def recorder(self, run: str) -> Recorder:
        if run not in self.open:
            self.open[run] = self.manager.get_recorder(recorder_id=run)
        return self.open[run]

    @rule(target=runs, own_id=st.booleans())
    def create(self, own_id: bool) -> str:
        number = next(self.names)
        experiment = self.manager.get_exp(experiment_name="machine")
        recorder = experiment.create_recorder(
            f"run-{number}", recorder_id=f"own-{number}" if own_id else None
        )
        self.open[recorder.id] = recorder
        self.model[recorder.id] = ModelRun(f"run-{number}")
        self.model[recorder.id].tags["mlflow.runName"] = f"run-{number}"
        return recorder.id

    @rule(run=runs)
    def start(self, run: str) -> None:
        self._started(run, lambda: self.recorder(run).start_run())

    def _started(self, run: str, start: Callable[[], object]) -> None:
        if self.model[run].deleted:
            with pytest.raises(InvalidInputError, match="is deleted"):
                start()
        else:
            start()
            self.model[run].status = "RUNNING"

    @rule(run=runs, status=st.sampled_from(["FINISHED", "FAILED"]))
    def end(self, run: str, status: str) -> None:
        self.recorder(run).end_run(status)
        self.model[run].status = status

    @rule(
        run=runs,
        step=STEPS,
        metrics=st.dictionaries(KEYS, NUMBERS, min_size=1, max_size=4),
        times=st.integers(1, 3),
    )
    def log_metrics(self, run: str, step: int | None, metrics: dict[str, float], times: int) -> None:
        for _ in range(times):
            self.recorder(run).log_batch(metrics, step=step)
            for key, value in metrics.items():
                self.model[run].points.setdefault(key, []).append((step, float(value)))

    @rule(run=runs, params=st.dictionaries(KEYS, VALUES, max_size=3))
    def log_params(self, run: str, params: dict[str, Any]) -> None:
        known = self.model[run].params
        conflict = any(key in known and not same(known[key], value) for key, value in params.items())
        with pytest.raises(ParamConflictError) if conflict else contextlib.nullcontext():
            self.recorder(run).log_params(**params)
        if not conflict:
            known.update({key: value for key, value in params.items() if key not in known})

    @rule(run=runs, tags=st.dictionaries(KEYS, VALUES, max_size=3), gone=st.sets(KEYS, max_size=2))
    def tags(self, run: str, tags: dict[str, Any], gone: set[str]) -> None:
        self.recorder(run).set_tags(**tags)
        self.recorder(run).delete_tags(*gone)
        self.model[run].tags.update(tags)
        for key in gone:
            self.model[run].tags.pop(key, None)

    @rule(run=runs, path=PATHS, value=st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=3))
    def save(self, run: str, path: str, value: Any) -> None:
        self.recorder(run).save_objects(**{path: value})
        self.model[run].artifacts[path] = value

    @rule(run=runs)
    def flush(self, run: str) -> None:
        self.recorder(run).flush()

    @rule(run=runs)
    def toggle_deleted(self, run: str) -> None:
        model = self.model[run]
        if model.deleted:
            self.manager.restore_recorder(run)
        else:
            self.manager.delete_recorder(recorder_id=run)
        model.deleted = not model.deleted

    @rule()
    def reopen(self) -> None:
        """Close everything, as another process would find it; a run left open ends."""
        self.manager.close()
        for model in self.model.values():
            if model.status == "RUNNING":
                model.status = "FINISHED"
        self.open.clear()
        self.manager = self.make_manager()

    @rule(run=runs)
    def read(self, run: str) -> None:
        """All that was recorded is read, by a handle that may be old or new."""
        recorder, model = self.recorder(run), self.model[run]
        recorder.refresh()
        assert recorder.status == model.status
        assert recorder.name == model.name
        assert same(recorder.list_params(), model.params)
        assert same(recorder.list_tags(), model.tags)
        latest = recorder.list_metrics()
        assert latest.keys() == model.points.keys()
        for key, points in model.points.items():
            history = recorder.metric_history(key)
            ordered = sorted(points, key=lambda point: (point[0] is not None, point[0] or 0))
            assert steps_of(history) == [step for step, _ in ordered]
            assert same(history.value.tolist(), [value for _, value in ordered])
            assert same(latest[key], ordered[-1][1])
        for path, value in model.artifacts.items():
            assert same(recorder.load_object(path, trust="trusted"), value)
        if "b.pkl" not in model.artifacts:
            with pytest.raises(LoadObjectError):
                recorder.load_object("b.pkl")

    @invariant()
    def listed(self) -> None:
        if not hasattr(self, "manager") or not self.model:
            return
        living = {run for run, model in self.model.items() if not model.deleted}
        found = self.manager.search_records()
        assert set(found.run_id) == living

    def teardown(self) -> None:
        try:
            for run in self.model:
                self.read(run)
            self.reopen()
            for run in self.model:
                self.read(run)
        finally:
            self.manager.close()
            self.folder.cleanup()


def steps_of(history: Any) -> list[int | None]:
    return [
        None if missing else int(step)
        for step, missing in zip(history.step.fillna(0), history.step.isna(), strict=True)
    ]


class MemoryMachine(RecorderMachine):
    """The same in memory, where a journal is a list of segments."""

    count = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.name = f"memory://machine-{next(self.count)}"

    def make_url(self) -> str:
        return self.name


TestLocal = RecorderMachine.TestCase
TestMemory = MemoryMachine.TestCase
for case in (TestLocal, TestMemory):
    # A step is a dozen requests, so a tenth of the profile's examples fill the same time.
    case.settings = settings(
        max_examples=max(settings().max_examples // 10, 5),
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
del case
