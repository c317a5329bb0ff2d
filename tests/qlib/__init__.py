"""Tests with real Qlib: ``nox -s qlib``. Where Qlib is not installed this folder is empty to pytest."""
