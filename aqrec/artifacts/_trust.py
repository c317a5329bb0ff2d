"""What a pickle may do when it is loaded."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Literal, cast, get_args

import msgspec

from aqrec.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable

TrustMode = Literal["trusted", "restricted", "never"]
MODES: tuple[str, ...] = get_args(TrustMode)

ENVIRONMENT_VARIABLE = "AQREC_TRUST"

PATTERN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*\.([^\W\d]\w*|\*)")
# Modules whose names can run anything; a wildcard over them would be "trusted" in disguise.
_TOO_WIDE = frozenset({"builtins", "importlib", "os", "posix", "nt", "runpy", "subprocess", "sys"})


class TrustPolicy(msgspec.Struct, frozen=True):
    """Which pickles may be loaded.

    A pickle is a small program: loading one calls whatever functions it names. Pickles written by
    cloudpickle and dill are pickles as well. The other codecs never run code and ignore the policy.

    Parameters
    ----------
    mode
        ``"trusted"``: load every pickle, as ``pickle.load`` does. ``"restricted"``: a pickle may
        build standard-library data, numpy arrays, pandas objects and what pyarrow holds for pandas;
        naming anything else raises `UntrustedObjectError` before it is imported. ``"never"``: no
        pickle is loaded at all.
    allow
        What ``"restricted"`` permits besides: ``"package.module.Name"``, or ``"package.*"`` for the
        classes and functions that the package and its submodules define themselves. Ignored by the
        other modes.

    Raises
    ------
    InvalidValueError
        The mode is unknown or a pattern of ``allow`` has neither form.

    Notes
    -----
    ``"restricted"`` decides what a pickle may *call*; it is not a sandbox. numpy, pandas and pyarrow
    believe the sizes and offsets in their own pickled state, so hostile bytes can still exhaust
    memory or crash the process. For bytes from strangers choose ``"never"`` and formats such as
    Parquet, ``.npy`` or JSON.
    """

    mode: TrustMode = "restricted"
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidValueError(f"trust is {self.mode!r}; choose trusted, restricted or never")
        if isinstance(cast("object", self.allow), str):
            raise InvalidValueError(
                f"allow is the text {self.allow!r}; give a list of names: [{self.allow!r}]"
            )
        for pattern in self.allow:
            if not PATTERN.fullmatch(pattern):
                raise InvalidValueError(
                    f"allow has {pattern!r}; write 'package.module.Name' or 'package.*' "
                    "(to allow everything, use trust='trusted')"
                )
            if pattern.endswith(".*") and pattern.split(".", 1)[0] in _TOO_WIDE:
                raise InvalidValueError(
                    f"allow has {pattern!r}, which lets a pickle run anything; name single objects"
                )


def default_trust(trust: TrustMode | None = None, allow: Iterable[str] = ()) -> TrustPolicy:
    """Give the policy for artifacts that this process did not write.

    Parameters
    ----------
    trust
        The mode if one was chosen. None: the environment variable ``AQREC_TRUST``, and without it
        ``"restricted"``.
    allow
        What ``"restricted"`` permits besides.

    Raises
    ------
    InvalidValueError
        The mode, the variable or a name in ``allow`` is not legal.
    """
    chosen: str = trust or os.environ.get(ENVIRONMENT_VARIABLE) or "restricted"
    if trust is None and chosen not in MODES:
        raise InvalidValueError(
            f"the variable {ENVIRONMENT_VARIABLE} is {chosen!r}; choose trusted, restricted or never"
        )
    return TrustPolicy(cast("TrustMode", chosen), (allow,) if isinstance(allow, str) else tuple(allow))
