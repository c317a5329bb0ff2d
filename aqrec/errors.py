"""What can go wrong, by what a handler would do about it.

::

    AqrecError
    ├── InvalidInputError (ValueError)        mend the call
    │   ├── InvalidNameError
    │   ├── InvalidValueError (also TypeError)
    │   └── InvalidWorkflowError
    ├── ConflictError                         somebody else's fact stands; choose another name or value
    │   ├── AlreadyExistsError (FileExistsError)
    │   ├── ExpAlreadyExistError
    │   └── ParamConflictError (ValueError)
    ├── NotFoundError (LookupError)           look elsewhere
    │   ├── ObjectNotFoundError (FileNotFoundError)
    │   ├── ExperimentNotFoundError (ValueError)
    │   ├── RecorderNotFoundError (ValueError)
    │   └── MissingInputError (FileNotFoundError)
    ├── StorageError (OSError)                the store failed: wait, retry, free space
    │   └── FlushTimeoutError (TimeoutError)
    ├── CorruptError (ValueError)             stored bytes are not what was written
    ├── ClosedError (RuntimeError)            opened too late or used after its end
    ├── BufferFullError (RuntimeError)        the caller outruns the store
    ├── RecorderInitializationError (RuntimeError)
    ├── WorkerLostError (RuntimeError)        a process that worked for us died; start again, with less at once
    └── LoadObjectError                       an artifact cannot become an object
        └── UntrustedObjectError              it could, but the trust policy forbids it

    UnknownInstrumentsWarning (UserWarning)   names that the prices do not have
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "AlreadyExistsError",
    "AqrecError",
    "BufferFullError",
    "ClosedError",
    "ConflictError",
    "CorruptError",
    "ExpAlreadyExistError",
    "ExperimentNotFoundError",
    "FlushTimeoutError",
    "InvalidInputError",
    "InvalidNameError",
    "InvalidValueError",
    "InvalidWorkflowError",
    "LoadObjectError",
    "MissingInputError",
    "NotFoundError",
    "ObjectNotFoundError",
    "ParamConflictError",
    "RecorderInitializationError",
    "RecorderNotFoundError",
    "StorageError",
    "UnknownInstrumentsWarning",
    "UntrustedObjectError",
    "WorkerLostError",
    "WorkflowProblem",
]


class AqrecError(Exception):
    """Root of everything aqrec raises on purpose."""


class InvalidInputError(AqrecError, ValueError):
    """The caller gave something that cannot be recorded; nothing was written."""


class InvalidNameError(InvalidInputError):
    """A run id, key, artifact path or URL is not a legal name."""


class InvalidValueError(InvalidInputError, TypeError):
    """A value has a type or size that cannot be stored faithfully."""


class WorkflowProblem(NamedTuple):
    """One thing that is wrong with a workflow.

    Attributes
    ----------
    key
        Where, as keys joined by dots: ``task.model.class``; empty for the whole.
    text
        What is wrong and what to do.
    file
        The file; None if the workflow was given as a dict.
    line, column
        Place in the file, both from 1; None where there is none.
    source
        The line as the file has it; empty where there is none.
    """

    key: str
    text: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    source: str = ""


class InvalidWorkflowError(InvalidInputError):
    """A workflow does not fit its schema, or names what does not exist; nothing was run.

    Attributes
    ----------
    problems
        All that was found, in the order of the file.
    """

    def __init__(self, text: str, problems: tuple[WorkflowProblem, ...] = ()) -> None:
        super().__init__(text)
        self.problems = problems


class ConflictError(AqrecError):
    """The request contradicts a fact that is already recorded."""


class AlreadyExistsError(ConflictError, FileExistsError):
    """A create-only write found the key taken."""


class ExpAlreadyExistError(ConflictError):
    """An experiment of this name exists already."""


class ParamConflictError(ConflictError, ValueError):
    """A param was logged again with another value; the first one stands."""


class NotFoundError(AqrecError, LookupError):
    """Nothing is recorded under this name."""


class ObjectNotFoundError(NotFoundError, FileNotFoundError):
    """The store has no object under this key."""


class ExperimentNotFoundError(NotFoundError, ValueError):
    """No experiment has this id or name."""


class RecorderNotFoundError(NotFoundError, ValueError):
    """No recorder has this id or name."""


class MissingInputError(NotFoundError, FileNotFoundError):
    """A record template lacks an artifact that another template makes."""


class StorageError(AqrecError, OSError):
    """The store failed or could not be reached.

    Attributes
    ----------
    permanent
        The store has answered, and will answer the same until somebody changes something: access was denied, or there is no such
        bucket. Otherwise trying again may help.
    """

    permanent: bool = False


class FlushTimeoutError(StorageError, TimeoutError):
    """What was logged did not become durable within its deadline; it is still being retried."""


class CorruptError(AqrecError, ValueError):
    """Stored bytes fail their checksum or cannot be decoded."""


class ClosedError(AqrecError, RuntimeError):
    """The object was not opened yet, or is closed already."""


class BufferFullError(AqrecError, RuntimeError):
    """The bounded buffer is full and its overflow policy is ``error``."""


class RecorderInitializationError(AqrecError, RuntimeError):
    """There is no active recorder, or it cannot be told which one is meant."""


class WorkerLostError(AqrecError, RuntimeError):
    """A worker process died before it was done."""


class LoadObjectError(AqrecError):
    """An artifact could not be loaded as an object."""


class UntrustedObjectError(LoadObjectError):
    """Loading would run code that the trust policy does not allow.

    Attributes
    ----------
    allowable
        The name that would have to be added to ``allow``; None where that cannot be advised.
    """

    allowable: str | None = None


class UnknownInstrumentsWarning(UserWarning):
    """Some of the instruments that are to be traded are not in the quotes; nothing is traded of them.

    Attributes
    ----------
    what
        Who names them: ``the signal``, ``codes``.
    unknown
        Their names, ascending.
    total
        How many instruments are named, known and unknown.
    """

    def __init__(self, what: str, unknown: tuple[str, ...], total: int) -> None:
        super().__init__(what, unknown, total)
        self.what = what
        self.unknown = unknown
        self.total = total

    def __str__(self) -> str:
        few = ", ".join(self.unknown[:3]) + ("…" if len(self.unknown) > 3 else "")
        return f"{len(self.unknown)} of the {self.total} instruments of {self.what} are not in the quotes and will not be traded: {few}"
