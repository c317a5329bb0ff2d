"""Rows of snapshots, chosen by their columns: no document is made of a run that nobody asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from aqrec.format._experiment import ExperimentDocument
from aqrec.format._snapshot import Snapshot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["choose", "codes"]


def codes(column: Any) -> tuple[NDArray[np.int64], list[Any]]:
    """Return a text column as codes, -1 where it is null, and the texts that they stand for."""
    import numpy as np  # noqa: PLC0415 - heavy

    encoded = column.combine_chunks().dictionary_encode()
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(indices, dtype=np.int64), encoded.dictionary.to_pylist()


def choose(
    snapshot: Snapshot,
    rows: NDArray[np.int64],
    experiments: Mapping[str, ExperimentDocument],
    *,
    experiment_ids: Collection[str] | None = None,
    view: str = "all",
    **equal: str | None,
) -> NDArray[np.int64]:
    """Return those of `rows` that hold a known run of the experiments (None: all) in a view.

    `equal` asks for values of text columns, such as ``status``; None asks for nothing.
    """
    import numpy as np  # noqa: PLC0415 - heavy

    wanted = {name: value for name, value in equal.items() if value is not None}
    table = snapshot.columns("experiment_id", "clock", "deleted", *wanted)
    experiment, ids = codes(table["experiment_id"])
    fits = experiment >= 0
    if experiment_ids is not None:
        fits &= np.array([*(known in experiment_ids for known in ids), False])[experiment]
    if view != "all":
        bounds = [experiments[known].hidden_until if known in experiments else 0 for known in ids]
        clock = table["clock"].fill_null(0).to_numpy()
        hidden = table["deleted"].to_numpy() | (clock <= np.array([*bounds, 0])[experiment])
        fits &= hidden == (view == "deleted")
    for name, value in wanted.items():
        column, texts = codes(table[name])
        fits &= np.array([*(text == value for text in texts), False])[column]
    return rows[fits[rows]]
