"""Full-body poses from the user's own sensors: a recording, a live stream, or requests to a served model (section 10)."""

import argparse
import base64
import binascii
import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from tenfold.core import atomic, params
from tenfold.core.errors import BadData, UsageError
from tenfold.motion_tracking import body as bodies
from tenfold.motion_tracking import calibration as calibrations
from tenfold.motion_tracking import columns, kinematics, predictor_folder, recording, rotations, skeleton, stream
from tenfold.motion_tracking.live import SENSOR_SETS, SHAPES, Live, Pose
from tenfold.motion_tracking.recording import BETAS, COLUMNS, QUATERNIONS, ROOT
from tenfold.motion_tracking.sessions import Sessions

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

OPTIONS: dict[str, Any] = {
    "session": "", "reset": False, "sensor_set": "auto", "shape": "live", "precision": predictor_folder.FP32, "state": "", "calibration": "",
}  # fmt: skip
"""Parameters of a request with their defaults; `state` is `new` or what an answer gave, `calibration` the text of a calibration's file."""
PRECISIONS = tuple(predictor_folder.STEPS)
ROWS = tuple(f"x{number}" for number in range(columns.WIDTH))
"""Columns of a request that brings the 135 values themselves."""
RECORDING = "recording"
BODY = "body_file"
"""Attribute of a frame: path of the body; the command line's, never a request's."""
NEW = "new"
QUANTILES = (50, 95, 99)
_LEAST_MS, _WIDTH, _BINS = 1e-3, 0.02, 1000


class Predictor:
    """A network's step and a body. Streams are told apart by their session; threads may share a predictor."""

    def __init__(self, parts: predictor_folder.Parts, body: bodies.Body | None = None) -> None:
        self.parts, self.step = parts, parts.step
        self._steps = {parts.precision: parts.step}
        self.body = parts.body if body is None else body
        self.sessions: Sessions[Live] = Sessions()

    @classmethod
    def load(cls, folder: Path, body: Path | None = None, precision: str = predictor_folder.FP32) -> Self:
        """From the folder `predictor` of a model. `body`: model.npz of the body, where it is licensed and did not come with it. A step of
        another precision than this one is opened when it is first asked for.

        Raises BadData, Corrupt; BadData for another body than the one trained with.
        """
        parts = predictor_folder.read(Path(folder), precision)
        return cls(parts) if body is None else cls(parts, _own_body(body, parts))

    def live(self, calibration: calibrations.Calibration | None = None, shape: str = "live", precision: str = "") -> Live:
        """A stream of its own, from its first frame; with the step of this precision, or the one that was loaded."""
        which = precision or self.parts.precision
        if which not in self._steps:
            self._steps[which] = predictor_folder.step(self.parts.folder, self.parts.description, which)
        return Live(self._steps[which], self.body, calibration=calibration, shape=shape)

    def predict(self, frame: "pd.DataFrame", params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """One row of `recording.COLUMNS` for each row of raw readings (`stream.NAMES`, `t`) or of the 135 values (`x0` ... `x134`).

        A row that makes no new 60 Hz pose gives the last one again, under its own head; one before the first pose gives NaN. Without a
        session each request is a stream of its own, and so is each value of a column `recording`. With `state` nothing is kept here: the
        column `state` of the last row holds it (base64). Parameters may also stand in `frame.attrs`. Raises UsageError, BadData.
        """

        carried = {name: frame.attrs[name] for name in OPTIONS if name in frame.attrs}
        options = _options({**carried, **(params or {})})
        if BODY in frame.attrs:
            return type(self)(self.parts, _own_body(Path(frame.attrs[BODY]), self.parts)).predict(_without(frame, BODY), params)
        many = RECORDING in frame.columns
        if many and (options["session"] or options["state"]):
            raise UsageError("a column `recording` goes with neither `session` nor `state`: each recording is a stream of its own")
        calibration = calibrations.parse(options["calibration"], "calibration") if options["calibration"] else None

        def fresh() -> Live:
            return self.live(calibration, options["shape"], options["precision"])

        if many:
            return self._recordings(frame, fresh, options["sensor_set"])
        if options["session"]:
            inputs = _inputs(frame)
            with self.sessions.use(str(options["session"]), fresh, bool(options["reset"])) as live:
                answer = self._rows(live, inputs, options["sensor_set"], frame.index)
        else:
            live = fresh()
            if options["state"] and options["state"] != NEW:
                live.from_bytes(_bytes(options["state"]))
            answer = self._rows(live, _inputs(frame), options["sensor_set"], frame.index)
            if options["state"]:
                answer["state"] = ["" for _ in range(len(answer) - 1)] + [base64.b64encode(live.to_bytes()).decode()] * (len(answer) > 0)
        return answer

    def _recordings(self, frame: "pd.DataFrame", fresh: Callable[[], Live], use: str) -> "pd.DataFrame":
        import pandas as pd

        plain = frame.reset_index(drop=True)
        record: dict[str, list[str]] = {}
        parts = [self._rows(fresh(), [], use, plain.index[:0])]
        parts[0].insert(0, RECORDING, [])
        for name, part in plain.groupby(RECORDING, sort=False):
            live = fresh()
            made = self._rows(live, _inputs(part), use, part.index)
            made.insert(0, RECORDING, name)
            parts.append(made)
            record[str(name)] = live.record.lines()
        answer = pd.concat(parts[1:] or parts).sort_index()
        answer.index = frame.index
        answer.attrs.update(
            body=self.body, record=record, **{name: frame.attrs[name] for name in ("format", "unread") if name in frame.attrs}
        )
        return answer

    def _rows(self, live: Live, inputs: "Sequence[stream.Reading] | Floats", use: str, index: "pd.Index[Any]") -> "pd.DataFrame":
        import pandas as pd

        rows = []
        for given in inputs:
            pose: Pose | None
            if isinstance(given, stream.Reading):
                made = live.push(given, use)
                pose = made[-1] if made else None
                if pose is None or pose.t != given.t:
                    pose = live.again(given.t)
            else:
                pose = live.row(given, use)
            rows.append(_NOTHING if pose is None else recording.row(pose))
        return pd.DataFrame(rows, columns=list(COLUMNS), index=index)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tenfold predict motion_tracking`."""
    parser.add_argument("inputs", nargs="*", type=Path, metavar="RECORDING", help="recordings: .jsonl, .csv or .parquet")
    parser.add_argument(
        "--stream",
        default="",
        metavar="FILE_OR_-",
        help="write poses while readings come, from a file or standard input (-); --out is a file then",
    )
    parser.add_argument(
        "--format",
        default="",
        choices=["", *recording.FORMATS],
        help="of what is written (default: --out's ending, else jsonl; npz for recordings)",
    )
    parser.add_argument(
        "--sensor-set", default="auto", choices=SENSOR_SETS, help="sensors to use (default auto: those that are there, frame by frame)"
    )
    parser.add_argument(
        "--shape", default="live", choices=SHAPES, help="live: a shape a frame; steady: its mean, which stays once it is found"
    )
    parser.add_argument(
        "--precision", default=predictor_folder.FP32, choices=PRECISIONS, help="weights of the step: 32 bits, or 8 in a smaller file"
    )
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="how the sensors sit (`tenfold tool motion_tracking calibrate`)")
    parser.add_argument("--body", type=Path, metavar="MODEL_NPZ", help="the body, where the predictor does not bring it")
    parser.add_argument("--joints", action="store_true", help="also the joints' positions (jsonl)")


def streaming(args: argparse.Namespace) -> Callable[[Path], int] | None:
    """With `--stream`, the function that takes the predictor's folder and runs until the stream ends; None otherwise."""
    if not args.stream:
        return None
    if args.inputs:
        raise UsageError("name recordings or --stream, not both")
    calibration = calibrations.read(args.calibration) if args.calibration else None
    out = None if args.out is None or str(args.out) == "-" else Path(args.out)
    ending = "" if out is None else out.suffix.lstrip(".").lower()
    kind = args.format or (ending if ending in recording.FORMATS else "jsonl")

    def run(folder: Path) -> int:
        predictor = Predictor.load(folder, args.body, args.precision)
        live = predictor.live(calibration, args.shape)
        written = recording.writer(kind, out, sys.stdout, predictor.body, args.joints)
        with stream.opened(args.stream, sys.stdin) as lines:
            taken = follow(live, lines, written, args.sensor_set)
        told = [*live.record.lines(), str(taken)]
        print("\n".join(told), file=sys.stderr)
        return 0

    return run


class Latencies:
    """How long answers took, to 1 %, in a memory that does not grow."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)

    def add(self, ms: float) -> None:
        """One answer."""
        place = int(math.log(max(ms, _LEAST_MS) / _LEAST_MS) / _WIDTH)
        self._counts[min(place, _BINS - 1)] += 1

    def quantile(self, percent: float) -> float:
        """ms within which so many percent of the answers came."""
        total = np.cumsum(self._counts)
        place = int(np.searchsorted(total, percent / 100 * total[-1]))
        return _LEAST_MS * math.exp((place + 0.5) * _WIDTH)

    def __str__(self) -> str:
        count = int(self._counts.sum())
        if not count:
            return "no pose: no usable reading of the head came"
        values = ", ".join(f"p{q} {self.quantile(q):.2f} ms" for q in QUANTILES)
        return f"{count} readings answered; from a reading to its poses written: {values}"


def follow(live: Live, lines: stream.Lines, written: recording.Writer, use: str) -> Latencies:
    """Run until the stream ends, its reader goes away or somebody stops it (Ctrl-C); the times of all readings that gave a pose."""
    taken = Latencies()
    try:
        for line in lines:
            began = time.perf_counter()
            poses = live.push(line, use)
            for pose in poses:
                written.write(pose, 1e3 * (time.perf_counter() - began))
            if poses:
                taken.add(1e3 * (time.perf_counter() - began))
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # nobody reads any more; what is still in the buffer goes nowhere, or Python would complain again at the end
        with open(os.devnull, "w") as nowhere, contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    written.close()
    return taken


def read_inputs(args: argparse.Namespace) -> "tuple[pd.DataFrame, list[str]]":
    """The recordings as one request. Raises UsageError without any, BadData naming a file that is none."""
    import pandas as pd

    if not args.inputs:
        raise UsageError("name a recording (.jsonl, .csv, .parquet), or --stream FILE, or --stream - for standard input")
    names = [path.stem for path in args.inputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two recordings are called {', '.join(twice)}; rename one, their answers would have one name")
    frames, unread = [], {}
    for path, name in zip(args.inputs, names, strict=True):
        if str(path) == "-":
            raise UsageError("standard input is read with --stream -")
        with stream.opened(str(path), sys.stdin) as lines:
            found = list(lines)
        readings = [line for line in found if isinstance(line, stream.Reading)]
        unread[name] = len(found) - len(readings)
        if not readings:
            raise BadData(f'{path} holds no frames; see docs/papers/motion_tracking.md, "Formats"')
        values = np.stack([each.values for each in readings]).reshape(len(readings), -1)
        part = pd.DataFrame(values, columns=list(stream.NAMES))
        part.insert(0, "t", [each.t for each in readings])
        part.insert(0, RECORDING, name)
        frames.append(part)
    frame = pd.concat(frames, ignore_index=True)
    frame.attrs.update(sensor_set=args.sensor_set, shape=args.shape, precision=args.precision)
    if args.calibration:
        calibrations.read(args.calibration)
        frame.attrs["calibration"] = args.calibration.read_text("utf-8")
    if args.body:
        frame.attrs[BODY] = str(args.body)
    frame.attrs.update(format=args.format or "npz", unread=unread)
    return frame, names


def write(result: "pd.DataFrame", names: Sequence[str], folder: Path) -> str:
    """Write `<recording>.npz` (AMASS), .bvh, .jsonl or .csv of each recording; returns the lines to show."""
    return "\n".join([*(_written(result[result[RECORDING] == name], name, folder) for name in names), f"written to {folder}"])


def _written(part: "pd.DataFrame", name: str, folder: Path) -> str:
    kind = str(part.attrs.get("format", "npz"))
    body: bodies.Body | None = part.attrs.get("body")
    # a row that only repeats is no frame
    new = part[part["t"].notna() & ~part["flags"].str.split().apply(lambda words: "again" in words)]
    path = folder / f"{name}.{kind}"
    wrong = list(part.attrs.get("record", {}).get(name, []))
    if lines := part.attrs.get("unread", {}).get(name, 0):
        wrong.append(f"lines that are no frame: {lines}")
    told = "\n  ".join([f"{name}: {len(new)} poses from {len(part)} readings, {path.name}", *wrong])
    if not len(new):
        return "\n  ".join([f"{name}: no pose; the head is never tracked", *wrong])
    if kind in ("csv", "jsonl"):
        text = (
            new.drop(columns=RECORDING).to_csv(index=False)
            if kind == "csv"
            else new.drop(columns=RECORDING).to_json(orient="records", lines=True)
        )
        atomic.write_text(path, text)
        return told
    if body is None:
        raise BadData(f"{kind} needs the body, which is licensed and not in the predictor; name its model.npz with --body")
    local = rotations.matrix_from_quaternion(new[list(QUATERNIONS)].to_numpy(np.float64).reshape(-1, skeleton.COUNT, 4))
    betas, root = new[list(BETAS)].to_numpy(np.float64), new[list(ROOT)].to_numpy(np.float64)
    _, positions = kinematics.forward(local, bodies.joints(body, betas), root)
    moved, shape = recording.one_shape(local, positions[:, skeleton.HEAD], betas, body)
    which = recording.filled(new["t"].to_numpy(np.float64))
    (recording.write_amass if kind == "npz" else recording.write_bvh)(path, local[which], moved[which], shape, body)
    return told


_NOTHING: dict[str, Any] = {name: np.nan for name in COLUMNS} | {"sensors": "", "masked": "", "held": "", "flags": "none"}


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in OPTIONS:
            raise UsageError(f"prediction has no parameter `{name}`{params.did_you_mean(name, OPTIONS)}")
    options = {**OPTIONS, **given}
    if options["session"] and options["state"]:
        raise UsageError("give `session` (the state is kept here) or `state` (it is kept by you), not both")
    for name, known in (("sensor_set", SENSOR_SETS), ("shape", SHAPES), ("precision", PRECISIONS)):
        if options[name] not in known:
            raise UsageError(f"{name} is {options[name]!r}{params.did_you_mean(str(options[name]), known)}")
    return options


def _own_body(path: Path, parts: predictor_folder.Parts) -> bodies.Body:
    given = bodies.load(path)
    if given.sha256 != parts.description["body_sha256"]:
        raise BadData(f"{path} is not the body that the model was trained with (its sha256 differs); name that model.npz")
    return given


def _without(frame: "pd.DataFrame", attribute: str) -> "pd.DataFrame":
    out = frame.copy(deep=False)
    out.attrs = {name: value for name, value in frame.attrs.items() if name != attribute}
    return out


def _inputs(frame: "pd.DataFrame") -> "list[stream.Reading] | Floats":
    names = [str(column) for column in frame.columns]
    if ROWS[0] not in names:
        return stream.table(frame[stream.names_of(names)], "the request")
    missing = [name for name in ROWS if name not in names]
    if missing:
        raise BadData(f"the request has x0 but not {', '.join(missing[:3])}; rows of the network's input have all {columns.WIDTH} columns")
    try:
        rows: Floats = frame[list(ROWS)].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise BadData(f"a cell of the request is no number ({error})") from error
    return rows


def _bytes(state: object) -> bytes:
    if isinstance(state, bytes | bytearray):
        return bytes(state)
    try:
        return base64.b64decode(str(state), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadData("`state` is neither `new` nor base64; send what the last answer gave") from error
