"""Figures are drawn in the format that the name asks for."""

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from aqrec.artifacts import codec_for_save, write_object
from aqrec.errors import InvalidValueError
from tests.artifacts.helpers import round_trip, save

STARTS = {"png": b"\x89PNG", "jpg": b"\xff\xd8\xff", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture(scope="module")
def figure() -> Any:
    from matplotlib.figure import Figure

    made = Figure(figsize=(1, 1))
    made.subplots().plot([1, 2])
    return made


@pytest.mark.parametrize("kind", STARTS)
def test_figures_of_matplotlib(figure: Any, kind: str) -> None:
    back = round_trip(figure, kind)
    assert type(back) is bytes
    assert back.startswith(STARTS[kind])


def test_axes_stand_for_their_figure(figure: Any) -> None:
    assert round_trip(figure.axes[0], "png").startswith(STARTS["png"])


@pytest.mark.parametrize("kind", ["png", "jpg", "pdf"])
def test_images_of_pillow(kind: str) -> None:
    image = pytest.importorskip("PIL.Image").fromarray(np.zeros((4, 4, 3), "u1"))
    assert round_trip(image, kind).startswith(STARTS[kind])


class Plotly:
    def to_image(self, format: str) -> bytes:  # noqa: A002 - plotly's name
        return f"plotly {format}".encode()


@pytest.mark.parametrize("kind", STARTS)
def test_figures_of_plotly(kind: str) -> None:
    assert round_trip(Plotly(), kind) == f"plotly {kind}".encode()


@pytest.mark.parametrize("kind", STARTS)
def test_pictures_already_drawn(kind: str) -> None:
    for data in (b"drawn", bytearray(b"drawn"), memoryview(b"drawn")):
        assert round_trip(data, kind) == b"drawn"


class Broken:
    def __repr__(self) -> str:
        return "Broken()"

    def savefig(self, file: Any, format: str) -> None:  # noqa: A002 - matplotlib's name
        raise KeyError("no such backend")


@pytest.mark.parametrize("obj", [3, "text", {"a": 1}, np.ones((2, 2)), Plotly, Broken()], ids=repr)
def test_what_is_no_figure_is_refused_before_anything_is_written(obj: Any) -> None:
    file = io.BytesIO()
    with pytest.raises(InvalidValueError, match="figure"):
        write_object(file, obj, codec="png")
    assert file.getvalue() == b""
    if not isinstance(obj, Broken):
        with pytest.raises(InvalidValueError, match=r"plots/a\.png"):
            codec_for_save("plots/a.png", obj)


def test_pillow_draws_no_svg() -> None:
    image = pytest.importorskip("PIL.Image").fromarray(np.zeros((4, 4, 3), "u1"))
    with pytest.raises(InvalidValueError):
        save(image, "svg")


def test_no_plotting_library_is_imported() -> None:
    code = (
        "import sys\nfrom aqrec.artifacts import codec_for_save\n"
        "assert codec_for_save('a.png', b'') == 'png'\n"
        "print(sorted({'matplotlib', 'plotly', 'PIL'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
