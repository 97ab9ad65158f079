"""Moving skeletons in the page itself: true and tracked joints on a canvas, played offline, with no address outside (section 11)."""

import base64
import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tenfold.core import report as page
from tenfold.core.report import Html
from tenfold.motion_tracking import skeleton
from tenfold.motion_tracking.shown import Shown

RATE_HZ = 30
"""Frames a second that the page holds; every second one of the motion."""
UNIT_M = 0.002
"""Step of the stored joints."""


def packed(joints: npt.NDArray[np.floating]) -> str:
    """Joints (T, 22, 3), in m, as base64 of little-endian int16 in steps of UNIT_M, at RATE_HZ."""
    step = round(skeleton.RATE_HZ / RATE_HZ)
    return base64.b64encode(np.round(joints[::step] / UNIT_M).astype("<i2").tobytes()).decode()


def player(clips: Sequence[Shown], names: Mapping[str, str]) -> Html:
    """The player of `clips`; `names`: words for each track but the truth, in the order of the panels."""
    if not clips:
        return Html("")
    data = {
        "parents": list(skeleton.PARENTS),
        "rate": RATE_HZ,
        "unit": UNIT_M,
        "panels": [[track, words] for track, words in names.items()],
        "clips": [
            {"name": f"{clip.kind or 'clip'}, {clip.source}: {clip.why} ({clip.error:.1f} cm)", "tracks": {name: packed(joints) for name, joints in clip.tracks.items()}}
            for clip in clips
        ],
    }  # fmt: skip
    return page.markup(_PLAYER, json.dumps(data, separators=(",", ":")))


_PLAYER = """<div class="player" data-motion="{}" style="margin:1em 0">
<div style="display:flex;gap:.6em;flex-wrap:wrap;align-items:center;margin-bottom:.4em">
<button type="button" data-part="play" style="min-width:5em">Pause</button>
<label>Clip <select data-part="clip"></select></label>
<label>Speed <select data-part="speed"><option value="0.25">1/4</option><option value="0.5">1/2</option><option value="1" selected>1</option></select></label>
<label><input type="checkbox" data-part="truth" checked> truth</label>
<input type="range" data-part="time" min="0" max="1" step="1" value="0" style="flex:1;min-width:8em" aria-label="frame">
</div>
<canvas data-part="canvas" style="width:100%;height:420px;touch-action:none;cursor:grab;border:1px solid #8884;border-radius:6px"></canvas>
<div class="small">Thin grey: the truth. Orange: left limbs, blue: right limbs, as tracked; the number is the mean distance of the joints in this
frame. Drag to turn. The head is where the headset is, so errors show in the feet. Without scripts, see the strips below.</div>
</div>"""

SCRIPT = """
"use strict";
for (const box of document.querySelectorAll(".player")) {
  const data = JSON.parse(box.dataset.motion), part = (n) => box.querySelector(`[data-part=${n}]`);
  const canvas = part("canvas"), pick = part("clip"), time = part("time"), play = part("play");
  const names = ["truth", ...data.panels.map((p) => p[0])], left = new Set([1, 4, 7, 10, 13, 16, 18, 20]), right = new Set([2, 5, 8, 11, 14, 17, 19, 21]);
  let tracks = {}, frames = 0, at = 0, running = true, yaw = 0.9, pitch = 0.22, last = 0, drag = null;
  const unpack = (text) => {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    const view = new DataView(bytes.buffer), out = new Float32Array(bytes.length / 2);
    for (let i = 0; i < out.length; i++) out[i] = data.unit * view.getInt16(2 * i, true);
    return out;
  };
  data.clips.forEach((clip, i) => pick.add(new Option(clip.name, String(i))));
  const load = () => {
    const clip = data.clips[Number(pick.value)];
    tracks = {};
    for (const name of names) if (clip.tracks[name]) tracks[name] = unpack(clip.tracks[name]);
    frames = tracks.truth.length / 66;
    at = 0;
    time.max = String(frames - 1);
  };
  const draw = () => {
    const ratio = window.devicePixelRatio || 1, wide = canvas.clientWidth, high = canvas.clientHeight;
    if (canvas.width !== Math.round(wide * ratio)) { canvas.width = Math.round(wide * ratio); canvas.height = Math.round(high * ratio); }
    const c = canvas.getContext("2d"), dark = matchMedia("(prefers-color-scheme: dark)").matches, ink = dark ? "#ddd" : "#222";
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, wide, high);
    const shown = data.panels.filter((p) => tracks[p[0]]), columns = Math.min(shown.length, Math.max(1, Math.floor(wide / 190))), rows = Math.ceil(shown.length / columns);
    const t = Math.floor(at), true_ = tracks.truth, centre = [true_[66 * t], true_[66 * t + 1]];
    const w = wide / columns, h = high / rows, scale = Math.min(w / 1.9, h / 2.35);
    shown.forEach((panel, n) => {
      const x0 = (n % columns + 0.5) * w, y0 = (Math.floor(n / columns) + 1) * h - 0.17 * h, cy = Math.cos(yaw), sy = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
      const to = (x, y, z) => { const a = x - centre[0], b = y - centre[1], u = a * -sy + b * cy, d = a * cy + b * sy; return [x0 + scale * u, y0 - scale * (z * cp - d * sp)]; };
      const line = (a, b) => { c.beginPath(); c.moveTo(a[0], a[1]); c.lineTo(b[0], b[1]); c.stroke(); };
      c.save(); c.beginPath(); c.rect((n % columns) * w, Math.floor(n / columns) * h, w, h); c.clip();
      c.lineWidth = 1; c.strokeStyle = dark ? "#3a3a3a" : "#e2e2e2";
      const gx = Math.round(centre[0] * 2) / 2, gy = Math.round(centre[1] * 2) / 2;
      for (let k = -3; k <= 3; k++) { line(to(gx + k / 2, gy - 1.5, 0), to(gx + k / 2, gy + 1.5, 0)); line(to(gx - 1.5, gy + k / 2, 0), to(gx + 1.5, gy + k / 2, 0)); }
      const body = (joints, width, colour) => {
        c.lineCap = "round"; c.lineWidth = width;
        for (let j = 1; j < 22; j++) {
          const p = data.parents[j], o = 66 * t;
          c.strokeStyle = colour(j);
          line(to(joints[o + 3 * p], joints[o + 3 * p + 1], joints[o + 3 * p + 2]), to(joints[o + 3 * j], joints[o + 3 * j + 1], joints[o + 3 * j + 2]));
        }
        const o = 66 * t + 45, head = to(joints[o], joints[o + 1], joints[o + 2] + 0.09);
        c.strokeStyle = colour(15); c.beginPath(); c.arc(head[0], head[1], 0.09 * scale, 0, 7); c.stroke();
      };
      if (part("truth").checked) body(true_, 2, () => (dark ? "#8a8a8a" : "#a8a8a8"));
      body(tracks[panel[0]], 3.2, (j) => (left.has(j) ? "#D55E00" : right.has(j) ? "#0072B2" : ink));
      let off = 0;
      for (let j = 0; j < 22; j++) { const o = 66 * t + 3 * j, q = tracks[panel[0]]; off += Math.hypot(q[o] - true_[o], q[o + 1] - true_[o + 1], q[o + 2] - true_[o + 2]); }
      c.fillStyle = ink; c.font = "13px system-ui, sans-serif"; c.textAlign = "center";
      c.fillText(`${panel[1]}: ${(100 * off / 22).toFixed(1)} cm`, x0, Math.floor(n / columns) * h + 18);
      c.restore();
    });
    time.value = String(t);
  };
  const tick = (now) => {
    const past = last ? Math.min(0.1, (now - last) / 1000) : 0;
    last = now;
    if (running) { at += past * data.rate * Number(part("speed").value); if (at >= frames) at = 0; }
    draw();
    requestAnimationFrame(tick);
  };
  pick.addEventListener("change", load);
  play.addEventListener("click", () => { running = !running; play.textContent = running ? "Pause" : "Play"; });
  time.addEventListener("input", () => { at = Number(time.value); running = false; play.textContent = "Play"; });
  canvas.addEventListener("pointerdown", (e) => { drag = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("pointermove", (e) => {
    if (!drag) return;
    yaw -= (e.clientX - drag[0]) / 120; pitch = Math.max(-0.2, Math.min(1.3, pitch + (e.clientY - drag[1]) / 200));
    drag = [e.clientX, e.clientY];
  });
  pick.value = "0";
  load();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) { running = false; play.textContent = "Play"; }
  requestAnimationFrame(tick);
}
"""
