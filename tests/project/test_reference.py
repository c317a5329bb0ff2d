"""The reference page names every public name, as the docstrings say it now."""

import runpy

from tests._support import ROOT


def test_the_reference_page_is_up_to_date() -> None:
    """If this fails: ``python docs/make_reference.py``."""
    script = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    assert "\n".join(script["lines"]()) + "\n" == script["PAGE"].read_text(encoding="utf-8")
