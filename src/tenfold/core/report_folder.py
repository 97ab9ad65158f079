"""What the asset `report` leaves behind: `report.html`, `figures/*.png`, and notes with small pictures."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tenfold.core import atomic, figures
from tenfold.core import report as page
from tenfold.core.report import Html, Page
from tenfold.core.stage import Made, Note


def write_charts(out: Path, charts: Mapping[str, bytes]) -> None:
    """`out/figures/<name>.png`; what an attempt that was cut off has drawn is removed first."""
    shutil.rmtree(out / "figures", ignore_errors=True)
    for name, content in charts.items():
        atomic.write_bytes(out / "figures" / f"{name}.png", content)


def shown(charts: Mapping[str, bytes], captions: Mapping[str, str], names: Sequence[str]) -> Html:
    """The named charts with their captions; those that were not drawn are left out."""
    uris = [(name, figures.data_uri(charts[name], "image/png")) for name in names if name in charts]
    return page.join(*(page.figure(uri, captions[name]) for name, uri in uris))


def write(out: Path, content: Page, sentence: str, thumbnails: Sequence[tuple[str, str, int]]) -> Made:
    """Write `out/report.html`; notes are the verdict's `sentence`, pictures (chart, label, longer side in px) and the page's size."""
    atomic.write_text(out / "report.html", page.render(content))
    size = (out / "report.html").stat().st_size
    pictures = [_thumbnail(out / "figures" / f"{name}.png", label, side) for name, label, side in thumbnails]
    notes = [Note("Verdict", "text", sentence), *(note for note in pictures if note), Note("Page, MB", "float", round(size / 1e6, 2))]
    return Made(notes=notes, facts={"bytes": size})


def _thumbnail(path: Path, label: str, side: int) -> Note | None:
    """Small: metadata is kept for ever in the event database."""
    from PIL import Image

    if not path.is_file():
        return None
    with Image.open(path) as image:
        uri = figures.image_uri(np.asarray(image.convert("RGB")), side, "jpeg")
    return Note(label, "md", f"![{label}]({uri})")
