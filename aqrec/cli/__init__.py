"""The command ``aqrec``: an example run, and a look into stores from the terminal.

Reading commands never create or change anything in a store. Exit codes: 0 done, 1 failed (a line on standard
error says why), 2 wrong usage.
"""

from aqrec.cli._app import app, main

__all__ = ["app", "main"]
