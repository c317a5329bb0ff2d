"""``python -m aqrec.cli``: the command ``aqrec`` where its script is not on the path."""

from aqrec.cli import main

main()
