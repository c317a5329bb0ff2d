"""Which columns a search is to return, from the names that people give; checked before anything is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from aqrec.errors import InvalidInputError
from aqrec.reading._filter_nodes import Key
from aqrec.reading._filter_parser import parse_key

__all__ = ["DEFAULT_FIELDS", "Field", "parse_fields"]

Group = Literal["metrics", "params", "tags"]

_GROUP: Final = re.compile(r"\s*(metrics|params|tags)\s*\.\s*\*\s*")
_EXPERIMENT: Final = ("experiment_id", "experiment_name")
_FIXED: Final = ("run_id", "experiment_id", "status", "start_time", "end_time", "artifact_uri")


class Field(msgspec.Struct, frozen=True):
    """One column, or with `group` those of all keys of its kind that the runs have.

    Attributes
    ----------
    name
        Of the column.
    key
        What is in it; ``experiment_id`` and ``experiment_name`` are attributes here, too.
    """

    name: str = ""
    key: Key | None = None
    group: Group | None = None


def parse_fields(fields: Sequence[str] | None) -> tuple[Field, ...]:
    """Return what a list of columns means; None: `DEFAULT_FIELDS`.

    Raises
    ------
    aqrec.errors.InvalidInputError
        It is no list of keys as in filters, ``metrics.*``, ``params.*`` and ``tags.*``; or one comes twice.
    """
    if fields is None:
        return DEFAULT_FIELDS
    if isinstance(fields, str):
        raise InvalidInputError(f"fields={fields!r} is one text; give a list: fields=[{fields!r}]")
    found: dict[str, Field] = {}
    for text in fields:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - what a caller gave
            raise InvalidInputError(f"fields: expected text, got {type(text).__name__}: {text!r:.80}")
        field = _field(text)
        name = field.name or f"{field.group}.*"
        if name in found:
            raise InvalidInputError(f"fields: {name} is there twice")
        found[name] = field
    if not found:
        raise InvalidInputError("fields is empty; name at least one column, or leave it out for all")
    return tuple(found.values())


def _field(text: str) -> Field:
    group = _GROUP.fullmatch(text)
    if group:
        for one in ("metrics", "params", "tags"):
            if group[1] == one:
                return Field(group=one)
    if text.strip() in _EXPERIMENT:
        return Field(text.strip(), Key("attributes", text.strip()))
    key = parse_key("fields", text)
    if key.entity == "datasets":
        raise InvalidInputError(f"fields: {text.strip()!r} can be in filters only")
    if key.entity == "attributes":
        return Field(key.name, key)
    name = f"{key.entity}.{key.name}"
    return Field(name if key.access == "last" else f"{key.access}({name})", key)


DEFAULT_FIELDS: Final = (
    *(Field(name, Key("attributes", name)) for name in _FIXED),
    Field(group="metrics"),
    Field(group="params"),
    Field(group="tags"),
)
"""Columns as those of MLflow's ``search_runs``"""
