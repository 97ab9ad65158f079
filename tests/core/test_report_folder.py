import io
from pathlib import Path

import numpy as np
from PIL import Image

from tenfold.core import report_folder
from tenfold.core.report import Page


def png(width: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, width, 3), np.uint8)).save(stream, "png")
    return stream.getvalue()


def test_the_folder_holds_the_page_and_this_attempts_figures(tmp_path: Path) -> None:
    report_folder.write_charts(tmp_path, {"old": png(4)})
    report_folder.write_charts(tmp_path, {"noise": png(900), "cost": png(8)})
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["cost.png", "noise.png"]
    page = Page("Zoo", "animals", "Good.", [], "", "", "", "", "", "")
    made = report_folder.write(tmp_path, page, "Good.", [("noise", "Noise", 100), ("absent", "Absent", 100)])
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [note.label for note in made.notes] == ["Verdict", "Noise", "Page, MB"]
    assert made.notes[1].value.startswith("![Noise](data:image/jpeg;base64,") and len(made.notes[1].value) < 5000
    assert made.facts == {"bytes": (tmp_path / "report.html").stat().st_size}


def test_charts_that_were_not_drawn_are_left_out() -> None:
    html = report_folder.shown({"cost": png(8)}, {"cost": "Cost", "noise": "Noise"}, ("noise", "cost"))
    assert html.count("<figure>") == 1 and "<figcaption>Cost</figcaption>" in html
