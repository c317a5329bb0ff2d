"""Whether what is traded is what there are prices of."""

from __future__ import annotations

import warnings
from collections.abc import Collection

from aqrec.errors import InvalidInputError, UnknownInstrumentsWarning

__all__ = ["check_names"]


def check_names(what: str, named: Collection[str], known: Collection[str]) -> None:
    """Refuse names of which the quotes have none, and warn of those that they do not have.

    Raises
    ------
    InvalidInputError
        Some are named and not one is known.

    Warns
    -----
    UnknownInstrumentsWarning
        Some are not known.
    """
    unknown = sorted(map(str, set(named).difference(known)))
    if not unknown:
        return
    if len(unknown) == len(set(named)):
        raise InvalidInputError(
            f"the quotes have none of the {len(unknown)} instruments of {what} ({_few(unknown)}), but {_few(sorted(known))}; "
            "names must be the same, capitals included"
        )
    warnings.warn(UnknownInstrumentsWarning(what, tuple(unknown), len(set(named))), stacklevel=4)


def _few(names: Collection[str]) -> str:
    return ", ".join([*names][:3]) + ("…" if len(names) > 3 else "") or "no instrument"
