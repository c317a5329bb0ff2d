"""Running a piece of code in an interpreter of its own."""

import os
import signal as signals
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["ROOT", "ScriptResult", "run_script"]

ROOT = Path(__file__).resolve().parents[2]

# Would change what the child imports, warns about or where it writes.
_NOT_INHERITED = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONWARNINGS",
    "PYTEST_CURRENT_TEST",
)


class ScriptResult(NamedTuple):
    """How a script ended.

    Attributes
    ----------
    returncode
        Exit code; minus the signal's number when a signal ended it.
    stdout, stderr
        All that it wrote.
    seconds
        From start to end, or from the signal to the end when one was sent.
    """

    returncode: int
    stdout: str
    stderr: str
    seconds: float

    def check(self) -> "ScriptResult":
        """Return self if the script ended with 0; raise `AssertionError` with its output otherwise."""
        if self.returncode:
            raise AssertionError(f"exit code {self.returncode}{_shown(self.stdout, self.stderr)}")
        return self


def run_script(
    code: str,
    *args: str,
    python: str | Path = sys.executable,
    timeout: float = 60.0,
    signal: signals.Signals | None = None,
    when: str = "ready",
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> ScriptResult:
    """Run `code` (dedented) as the main module of a fresh interpreter that finds this tree's aqrec.

    The code lives in a file while it runs, so spawned processes can import its functions. Its standard input
    is empty. The child leads a process group, and when it is late the whole group is killed.

    Parameters
    ----------
    args
        The script's ``sys.argv[1:]``.
    python
        Interpreter to use.
    timeout
        Seconds until the whole group is killed and `AssertionError` raised with the output so far.
    signal
        Sent to the script, and to it alone, once, as soon as it has printed `when` on standard output.
    options
        Interpreter options, such as ``("-X", "dev")``.
    env
        Added to an environment free of ``PYTHON…`` settings that would leak in.
    cwd
        Working folder; a fresh one by default, removed afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="script-") as folder:
        script = Path(folder, "script.py")
        script.write_text(textwrap.dedent(code), encoding="utf-8")
        workdir = Path(folder, "cwd")
        workdir.mkdir()
        out_path, err_path = Path(folder, "stdout"), Path(folder, "stderr")
        with out_path.open("wb") as out, err_path.open("wb") as err:
            started = time.monotonic()
            process = subprocess.Popen(
                [str(python), "-u", *options, str(script), *args],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=_environment(env),
                cwd=workdir if cwd is None else cwd,
                start_new_session=True,
            )
            try:
                deadline = started + timeout
                if signal is not None:
                    _await_text(process, out_path, when, deadline)
                    started = time.monotonic()
                    process.send_signal(signal)
                returncode = process.wait(max(0.0, deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, AssertionError) as error:
                shown = _shown(_text(out_path), _text(err_path))
                raise AssertionError(f"script late after {timeout:g} s ({error}){shown}") from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signals.SIGKILL)
                    process.wait()
        return ScriptResult(returncode, _text(out_path), _text(err_path), time.monotonic() - started)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _shown(stdout: str, stderr: str) -> str:
    return f"\n--- stdout\n{stdout}\n--- stderr\n{stderr}"


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return {**clean, "PYTHONPATH": str(ROOT), **(extra or {})}


def _await_text(process: subprocess.Popen[bytes], path: Path, text: str, deadline: float) -> None:
    wanted = text.encode()
    while wanted not in path.read_bytes():
        if process.poll() is not None:
            if wanted in path.read_bytes():
                return
            raise AssertionError(f"it ended with {process.returncode} before it printed {text!r}")
        if time.monotonic() >= deadline:
            raise AssertionError(f"it never printed {text!r}")
        time.sleep(0.001)
