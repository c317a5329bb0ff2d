"""What was started: the command line and the program's source, in MLflow's sense."""

from __future__ import annotations

import os
import sys
from typing import Any, Literal

from aqrec.provenance._redaction import redact_arguments
from aqrec.provenance._text import storable

__all__ = ["argv_text", "source_name", "source_type"]


def argv_text() -> str:
    """Return the command line (Qlib's param ``cmd-sys.argv``): arguments joined by spaces, not quoted.

    Secrets stay out, by the rules of `selected_environment` for names and URLs: ``--password=…``, ``--token X``,
    ``db.password=…`` become ``***``.
    """
    return storable(" ".join(redact_arguments(_argv())))


def source_type() -> Literal["NOTEBOOK", "LOCAL"]:
    """Return MLflow's ``mlflow.source.type``: ``"NOTEBOOK"`` inside an IPython kernel, else ``"LOCAL"``."""
    return "NOTEBOOK" if _kernel_shell() is not None else "LOCAL"


def source_name() -> str:
    """Return the program's name (MLflow's tag ``mlflow.source.name``).

    That is the script as it was typed, the notebook's path where its front end tells it (Jupyter Server, VS
    Code), ``<notebook>`` where it does not, and ``<console>`` at an interactive prompt.
    """
    shell = _kernel_shell()
    if shell is None:
        argv = _argv()
        return storable(argv[0]) if argv and argv[0] else "<console>"
    name = getattr(shell, "user_ns", {}).get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return storable(str(name)) if name else "<notebook>"


def _argv() -> list[str]:
    # An embedded interpreter may have no sys.argv at all.
    return [str(argument) for argument in getattr(sys, "argv", ())]


def _kernel_shell() -> Any:
    # A kernel has imported IPython; importing it here would cost a plain script half a second.
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if callable(get_ipython) else None
    return shell if getattr(shell, "kernel", None) is not None else None
