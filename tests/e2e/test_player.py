"""The player of skeletons in a report, in a browser: it runs under the page's own policy, moves, stops and turns."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tenfold.core import report
from tenfold.motion_tracking import canvas
from tenfold.motion_tracking.shown import Shown

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PIXELS = "canvas => { const d = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; let s = 0; for (let i = 3; i < d.length; i += 4) s += d[i] > 0; return s; }"
PICTURE = "canvas => canvas.toDataURL()"


def clip(seed: int, tracks: tuple[str, ...], frames: int = 90) -> Shown:
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 0.4, (22, 3)) + [0, 0, 1.0]
    path = np.linspace(0, 1.5, frames)[:, None, None] * [1.0, 0.3, 0.0]
    made = {name: base + path + rng.normal(0, 0.05, (22, 3)) for name in tracks}
    return Shown(f"c{seed}", "walk", "real", "best real clip", 4.2, made)


def test_skeletons_play_without_any_address(page: "Page") -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    tracks = ("truth", "ours/hmd", "ours/hmd_2imus")
    player = canvas.player([clip(0, tracks), clip(1, tracks)], {"ours/hmd": "headset", "ours/hmd_2imus": "<b>two</b> IMUs"})
    page.set_content(report.shell("motion", "", {"Pictures": player}, canvas.SCRIPT))
    drawing = page.locator(".player canvas")
    page.wait_for_timeout(500)
    assert drawing.evaluate(PIXELS) > 1000
    first = drawing.evaluate(PICTURE)
    page.wait_for_timeout(700)
    assert drawing.evaluate(PICTURE) != first
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(200)
    still = drawing.evaluate(PICTURE)
    page.wait_for_timeout(500)
    assert drawing.evaluate(PICTURE) == still
    page.locator("[data-part=truth]").uncheck()
    page.wait_for_timeout(200)
    assert drawing.evaluate(PICTURE) != still
    box = drawing.bounding_box()
    assert box
    before = drawing.evaluate(PICTURE)
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 320, box["y"] + 190)
    page.mouse.up()
    page.wait_for_timeout(200)
    assert drawing.evaluate(PICTURE) != before
    page.locator("[data-part=clip]").select_option("1")
    assert page.locator("[data-part=time]").input_value() in ("0", "1")
    assert page.locator("[data-part=time]").get_attribute("max") == "44"
    assert said == []


def test_a_script_that_was_not_given_does_not_run(page: "Page") -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    html = report.shell("motion", "", {"Pictures": report.Html("<script>document.title = 'taken'</script>")}, canvas.SCRIPT)
    page.set_content(html)
    page.wait_for_timeout(300)
    assert page.title() == "motion"
    assert any("Content Security Policy" in text for text in said)
