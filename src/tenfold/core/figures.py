"""Pictures: figures as PNG, arrays as pictures, both as data URIs for a page without outside addresses."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart with any colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")

_STYLE: dict[str, Any] = {
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "image.cmap": "inferno",
}


@contextmanager
def style() -> Iterator[None]:
    """The house style, for what is drawn inside the `with` block: titles and legends take theirs when they are made."""
    import matplotlib
    from cycler import cycler

    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=PALETTE)}):
        yield


def new(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> "tuple[Figure, npt.NDArray[Any]]":
    """Figure of `width` x `height` inches with axes `(rows, columns)`; `options` go to `Figure.subplots`.

    No pyplot: nothing global holds the figure, and no display is looked for.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


def png(fig: "Figure", dpi: int) -> bytes:
    """The figure as PNG. The same figure gives the same bytes: no date, no version inside."""
    stream = io.BytesIO()
    with style():
        fig.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def data_uri(content: bytes, mime: str) -> str:
    """`data:` address that holds the content itself."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def image_uri(array: "npt.NDArray[Any]", side: int = 0, kind: Literal["png", "jpeg"] = "png") -> str:
    """Picture `(H, W)` or `(H, W, 3)`, uint8, bool or float in [0, 1], as a data URI.

    Args:
        side: greatest side in px; larger pictures are made smaller, 0 leaves the size.
        kind: `jpeg` for photographs (a tenth of the bytes), `png` where every pixel counts.
    """
    from PIL import Image

    image = Image.fromarray(_bytes(array))
    if side and max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format=kind, **({"quality": 88} if kind == "jpeg" else {"optimize": True}))
    return data_uri(stream.getvalue(), f"image/{kind}")


def heat(values: "npt.NDArray[Any]", lo: float, hi: float, cmap: str = "inferno") -> "npt.NDArray[Any]":
    """Map `(H, W)` as colours `(H, W, 3)` uint8; `lo` and `hi` are the ends of the scale, NaN is grey."""
    import matplotlib
    import numpy as np

    scaled = (np.asarray(values, dtype=np.float64) - lo) / max(hi - lo, 1e-12)
    colours = matplotlib.colormaps[cmap].with_extremes(bad="#808080")
    return np.asarray(colours(np.ma.masked_invalid(scaled), bytes=True)[..., :3])


def overlay(rgb: "npt.NDArray[Any]", mask: "npt.NDArray[Any]", colour: tuple[int, int, int] = (0, 255, 120)) -> "npt.NDArray[Any]":
    """Copy of `rgb` `(H, W, 3)` uint8 with the inner border of `mask` `(H, W)` drawn in `colour`."""
    import numpy as np

    inside = np.pad(np.asarray(mask, dtype=bool), 1)
    core = inside[1:-1, 1:-1] & inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    drawn = np.array(rgb, dtype=np.uint8)
    drawn[inside[1:-1, 1:-1] & ~core] = colour
    return drawn


def _bytes(array: "npt.NDArray[Any]") -> "npt.NDArray[Any]":
    import numpy as np

    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    finite = np.nan_to_num(np.asarray(array, dtype=np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return (np.clip(finite, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)
