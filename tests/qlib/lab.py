"""Qlib initialised on a store, where it is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["MANAGER", "exp_manager", "qlib_on"]

MANAGER = {"class": "AqrecExpManager", "module_path": "aqrec.integrations.qlib"}


def exp_manager(uri: str | Path, **kwargs: Any) -> dict[str, Any]:
    """Return what ``qlib.init`` takes for a store."""
    return {**MANAGER, "kwargs": {"uri": str(uri), "default_exp_name": "Experiment", **kwargs}}


@contextmanager
def qlib_on(uri: str | Path, *, provider: str | Path = ".", kernels: int = 1, **kwargs: Any) -> Iterator[Any]:
    """Initialise Qlib with an `AqrecExpManager`; yields its ``R``, and closes the store at the end."""
    import qlib
    from qlib.workflow import R

    manager = exp_manager(uri, **kwargs)
    qlib.init(provider_uri=str(provider), region="us", kernels=kernels, exp_manager=manager, logging_level=30)
    try:
        yield R
    finally:
        R.exp_manager.close()
