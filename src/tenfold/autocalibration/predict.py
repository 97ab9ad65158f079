"""Calibrate the user's own views: one answer a scene and camera, or a plain statement that there is none (section 10).

A request is a table of correspondences; photographs are matched before. The steps are those of an evaluation.
"""

import argparse
import csv
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from tenfold.autocalibration import colmap_db, colmap_model, colmap_prior, combine, config, estimate, features, geometry, predictor_folder
from tenfold.autocalibration.estimate import Results
from tenfold.autocalibration.ransac import Settings, TripletResult
from tenfold.autocalibration.samples import Scene
from tenfold.autocalibration.start_system import StartSystem
from tenfold.core import atomic, params
from tenfold.core.errors import BadData, UsageError
from tenfold.core.files import Unreadable
from tenfold.core.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]

COLUMNS = (
    "scene", "camera", "answer", "fx", "fy", "cx", "cy", "s", "sd_fx", "sd_fy", "sd_cx", "sd_cy", "sd_s",
    "k1", "k2", "sd_k1", "inliers", "tracks", "views", "width", "height", "status", "reason", "triplet", "triplets", "candidates", "cpu_s",
)  # fmt: skip
INTRINSICS = combine.INTRINSICS
# Pairs of numbers are text "a,b", empty for the default: a served model's parameters have one type each. 0: not given.
OPTIONS: dict[str, Any] = {
    "width": 0, "height": 0, "assume": "", "principal_point": "", "undistort": "", "max_seconds": 0.0, "threshold_px": 0.0, "seed": 0,
}  # fmt: skip
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
OUTSIDE = 0.5  # of the image's size: a point further off is a mistake
DROPPED = 0.05  # share of observations from which their loss is said in the answer
GUESS = 1.2  # focal over the longer side, before the first round of undistorting
STILL = 2e-3  # change of k1 in a round after which it is found
ROUNDS, SETTLED = 4, 5e-3  # rounds of undistorting, and the relative change of focal after which the last one comes
SCOUTS = 3  # sets of views in all rounds but the last


class Predictor:
    """Start systems and numbers; `predict` answers requests."""

    def __init__(self, serving: predictor_folder.Serving, systems: Mapping[str, StartSystem]) -> None:
        self.serving, self.systems = serving, dict(systems)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From the folder `predictor` of a model. Raises BadData, Corrupt."""
        serving, files = predictor_folder.read(Path(folder))
        return cls(serving, {name: StartSystem.load(file) for name, file in files.items()})

    def predict(self, frame: "pd.DataFrame", params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """One row of COLUMNS for each scene and camera of `scene, track_id, view_id, x, y` (px, top-left pixel's centre at (0.5, 0.5)).

        Parameters (also in `frame.attrs`): `width`, `height` of the images in px (or columns of that name); `assume`: focal | focal2v |
        square | zero_skew | full; `principal_point` "cx,cy", default the centre; `undistort`: auto (default: k1 is estimated where the views
        show that the lens bends lines), none, or "k1,k2", radial terms that are taken off first; `max_seconds` a scene; `threshold_px`
        (default the model's, doubled once where the noise is too large for it); `seed`. A column `camera` keeps views of different cameras
        apart.

        `fx` to `sd_s` are NaN unless `status` is ok; `k1`, `k2` are those of COLMAP's RADIAL, 0 where none was taken off. `triplets`, `candidates`: JSON. Raises BadData for a request that cannot be read,
        UsageError for a parameter.
        """
        import pandas as pd

        carried = {name: frame.attrs[name] for name in OPTIONS if name in frame.attrs}
        options = _options({**carried, **(params or {})}, self.systems, self.serving)
        rows = [self._answer(part, options) for part in _parts(frame, options)]
        result = pd.DataFrame(rows, columns=list(COLUMNS))
        result.attrs.update(frame.attrs)
        return result

    def _answer(self, part: "_Part", options: "_Options") -> Row:
        size = part.size
        if options.principal and not all(-side / 2 <= at <= 1.5 * side for at, side in zip(options.principal, size, strict=True)):
            raise UsageError(f"principal_point {options.principal} is far outside an image of {size[0]} x {size[1]} px")
        principal = np.array(options.principal or (size[0] / 2, size[1] / 2))
        observations, said = _cleaned(part)
        found, radial = self._calibrated(part.name, observations, size, principal, options)
        merged = found[-1][0]
        triplets = [(row, result) for row, result in found if row["stage"] == "refined" and row["triplet"] and result]
        good = estimate.answers(found)
        labels = dict(enumerate(part.views))
        row: Row = {name: merged[name] for name in ("tracks", "status", "inliers", "cpu_s")}
        row |= {"scene": part.name, "camera": part.camera, "views": len(part.views), "width": size[0], "height": size[1]}
        stated = merged["reason"]
        if radial.estimated:
            left = [part for part in stated.split("; ") if part.startswith(combine.WARNED)]
            stated = "; ".join(part for part in stated.split("; ") if part not in left)
            said = "; ".join(filter(None, ["k1 alone does not describe all of it" if left else "", said]))
            lens = f"the lens bends lines: k1 = {radial.k1:.3f} ± {radial.sd:.3f} was estimated and taken off"
            said = "; ".join(filter(None, [lens + (f" (without that f = {radial.before:.0f} px)" if radial.before else ""), said]))
        row |= {"answer": bool(good), "reason": "; ".join(filter(None, [stated, said]))}
        row |= {"k1": radial.k1, "k2": radial.k2, "sd_k1": radial.sd}
        row["cpu_s"] = float(sum(each["cpu_s"] for each, _ in triplets))
        row |= dict.fromkeys((*INTRINSICS, *(f"sd_{name}" for name in INTRINSICS)), float("nan"))
        if good:
            weights = np.array([max(each["inliers"], 1) for each, _ in good], dtype=np.float64)
            for at, column in enumerate(INTRINSICS):
                values = np.array([each[column] for each, _ in good])
                sd = np.array([result.refined.sd[at] if result.refined else np.nan for _, result in good])
                if radial.estimated and at < 2:
                    # k1 is not known but estimated from the same points, which costs certainty of the focal
                    sd = np.array(
                        [max(own, result.radial.sd_focal) if result.radial else own for own, (_, result) in zip(sd, good, strict=True)]
                    )
                row[column] = combine.weighted_median(values, weights)
                row[f"sd_{column}"] = combine.uncertainty(values, sd, weights)
        best = max(good, key=lambda each: each[0]["inliers"])[0] if good else None
        row["triplet"] = _labelled(best["triplet"], labels) if best else ""
        row["triplets"] = json.dumps([_plain_triplet(each, labels) for each, _ in triplets])
        row["candidates"] = json.dumps([_rivals(result) for _, result in triplets])
        return row

    def _calibrated(
        self, name: str, given: features.Observations, size: tuple[int, int], principal: Floats, options: "_Options"
    ) -> tuple[Results, "_Radial"]:
        """Rows and results of all sets of views, and the radial terms that were taken off.

        With terms, repeated until focal and undistorted points agree; terms to be estimated are those of fits that have one, until what is
        taken off leaves none.
        """
        block = _features(self.serving, options.threshold_px)
        settings = Settings(self.serving.samples, options.threshold_px, options.max_seconds)

        def once(terms: tuple[float, float], focal: float, count: int) -> Results:
            observations = given
            if any(terms):
                k = np.array([focal, focal, *principal, 0.0])
                points = {view: geometry.undistort(given.points[view], k, *terms) for view in given.views}
                observations = _finite(given.ids, points)
            scene = features.verified(name, observations, block)
            system = self.systems[options.assume]
            return estimate.calibrations(
                scene, options.assume, system, size, principal, settings, count, options.seed, strict=options.given_threshold
            )

        every, scouts = self.serving.triplets, min(SCOUTS, self.serving.triplets)
        given_terms = options.undistort or (0.0, 0.0)
        focal, radial = GUESS * max(size), _Radial(given_terms[0], given_terms[1])
        plain: Results = []
        if options.auto:
            plain = once((0.0, 0.0), focal, every)
            seen = _bent(plain, suspected=True)
            if seen is None:
                return plain, radial
            radial, focal = _Radial(seen[0], 0.0, seen[1], True, plain[-1][0]["fx"]), seen[2]
        for _ in range(ROUNDS if options.auto or any(given_terms) else 0):
            found = once((radial.k1, radial.k2), focal, scouts)
            new, settled = found[-1][0]["fx"], True
            if options.auto:
                seen = _bent(found, suspected=False)
                if seen is None:
                    return plain, _Radial()
                radial = replace(radial, k1=radial.k1 + seen[0], sd=seen[1])
                settled = abs(seen[0]) < STILL
            settled &= new is None or abs(new / focal - 1) < SETTLED
            focal = new or focal
            if settled:
                break
        last = once((radial.k1, radial.k2), focal, every)
        return (plain, _Radial()) if options.auto and not estimate.answers(last) else (last, radial)


@dataclass(frozen=True)
class _Radial:
    """Radial terms that were taken off; of estimated ones, the standard deviation of k1 and the focal length without them, if any (px)."""

    k1: float = 0.0
    k2: float = 0.0
    sd: float = 0.0
    estimated: bool = False
    before: float | None = None


def _bent(found: Results, suspected: bool) -> tuple[float, float, float] | None:
    """k1, its standard deviation, and focal length (px) over the sets of views; None if fewer than half of them (`suspected`) show a lens."""
    tried = [(row, result.radial) for row, result in found if row["stage"] == "refined" and row["triplet"] and result and result.radial]
    seen = [(row, radial) for row, radial in tried if not suspected or combine.WARNED in row["reason"]]
    seen = [(row, radial) for row, radial in seen if np.isfinite([radial.k1, radial.sd, radial.focal]).all()]
    if not seen or 2 * len(seen) < len(tried):
        return None
    weights = np.array([max(row["inliers"] or 0, 1) for row, _ in seen], dtype=np.float64)
    k1, sd, focal = (np.array([getattr(radial, name) for _, radial in seen]) for name in ("k1", "sd", "focal"))
    # sets of views weigh by what they know of k1
    weights = weights / (sd + 1e-6) ** 2
    return combine.weighted_median(k1, weights), combine.uncertainty(k1, sd, weights), combine.weighted_median(focal, weights)


@dataclass(frozen=True)
class _Options:
    """Parameters of a request, checked. `undistort` and `principal` are empty if not given; `auto`: radial terms are to be estimated."""

    assume: str
    size: tuple[int, int]
    principal: tuple[float, ...]
    undistort: tuple[float, ...]
    auto: bool
    max_seconds: float | None
    threshold_px: float
    given_threshold: bool
    seed: int


@dataclass(frozen=True)
class _Part:
    """Observations of one scene by one camera; `views` are the labels of views 0, 1, ..."""

    name: str
    camera: str
    size: tuple[int, int]
    views: list[str]
    track: npt.NDArray[np.int64]
    view: npt.NDArray[np.int64]
    x: Floats


def _options(given: Mapping[str, Any], systems: Mapping[str, StartSystem], serving: predictor_folder.Serving) -> _Options:
    for name in given:
        if name not in OPTIONS:
            raise UsageError(f"prediction has no parameter `{name}`{params.did_you_mean(name, OPTIONS)}")
    values = {**OPTIONS, **given}
    assume = str(values["assume"] or next(iter(systems)))
    if assume not in estimate.SOLVERS:
        raise UsageError(f"assume {assume!r}: use one of {', '.join(estimate.SOLVERS)}{params.did_you_mean(assume, estimate.SOLVERS)}")
    if assume not in systems:
        raise UsageError(
            f"this model has no start system for {assume!r}, only for {', '.join(systems)}; add it to model.solvers and make it"
        )
    numbers = {name: _number(values[name], name) for name in ("width", "height", "max_seconds", "threshold_px", "seed")}
    lens = str(values["undistort"] if isinstance(values["undistort"], str) else "").strip() or ("" if values["undistort"] else "auto")
    return _Options(
        assume=assume,
        size=(int(numbers["width"]), int(numbers["height"])),
        principal=pair(values["principal_point"], "principal_point"),
        undistort=() if lens in ("auto", "none") else pair(values["undistort"], "undistort"),
        auto=lens == "auto",
        max_seconds=numbers["max_seconds"] or None,
        threshold_px=numbers["threshold_px"] or serving.threshold_px,
        given_threshold=bool(numbers["threshold_px"]),
        seed=int(numbers["seed"]),
    )


def pair(value: object, name: str) -> tuple[float, ...]:
    """Two numbers from "a,b" or a sequence; empty for nothing. Raises UsageError."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    parts: list[Any] = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, Sequence | np.ndarray) else [value]
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        found = ()
    if len(found) != 2 or not np.isfinite(found).all():
        raise UsageError(f"{name} {value!r}: give two numbers with a comma between them")
    return found


def _number(value: object, name: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or number < 0:
        raise UsageError(f"{name} {value!r}: give a number that is not negative")
    return number


def _features(serving: predictor_folder.Serving, threshold_px: float) -> config.Features:
    return config.Features(threshold_px, serving.max_keypoints, serving.min_matches, serving.seed)


def _parts(frame: "pd.DataFrame", options: _Options) -> Iterator[_Part]:
    """The request a scene and camera at a time, in the order of their names. Raises BadData."""
    import pandas as pd

    wanted = ("scene", "track_id", "view_id", "x", "y")
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise BadData(f"the request has no column `{missing[0]}` (columns: {', '.join(map(str, frame.columns)) or 'none'})")
    if not len(frame):
        raise BadData("the request has no rows: give the image points of tracks in at least two views")
    for name in wanted[:3]:
        if frame[name].isna().any():
            raise BadData(f"row {int(np.argmax(frame[name].isna().to_numpy()))} of the request has no `{name}`")
    x = np.empty((len(frame), 2))
    for at, name in enumerate(("x", "y")):
        numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        words = np.isnan(numbers) & ~frame[name].isna().to_numpy()
        if words.any():
            row = int(np.argmax(words))
            raise BadData(f"row {row} of the request: `{name}` is {frame[name].iloc[row]!r}, no number")
        x[:, at] = numbers
    camera = frame["camera"].astype(str).to_numpy() if "camera" in frame.columns else np.full(len(frame), "")
    scene = frame["scene"].astype(str).to_numpy()
    for name in sorted(set(scene)):
        for which in sorted(set(camera[scene == name])):
            rows = np.flatnonzero((scene == name) & (camera == which))
            part = frame.iloc[rows]
            view, labels = pd.factorize(part["view_id"].to_numpy(), sort=True)
            track, _ = pd.factorize(part["track_id"].to_numpy(), sort=True)
            size = _size(part, options.size, name)
            yield _Part(name, which, size, [str(label) for label in labels], track.astype(np.int64), view.astype(np.int64), x[rows])


def _size(part: "pd.DataFrame", given: tuple[int, int], name: str) -> tuple[int, int]:
    size = list(given)
    for at, column in enumerate(("width", "height")):
        if column in part.columns:
            values = part[column].unique().tolist()
            if len(values) > 1:
                raise BadData(f"scene {name}: images of one camera have several values of `{column}`; give their cameras different names")
            size[at] = int(_number(values[0], column))
    if min(size) < 1:
        raise UsageError(f"scene {name}: give `width` and `height` of the images in px")
    return size[0], size[1]


def _cleaned(part: _Part) -> tuple[features.Observations, str]:
    """Observations that can be used, and in words what was dropped, if it is more than a few."""
    size = np.array(part.size, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        outside = ((part.x < -OUTSIDE * size) | (part.x > (1 + OUTSIDE) * size)).any(axis=1)
    kept = ~outside
    observations, detail = features.clean(part.track[kept], part.view[kept], part.x[kept])
    left = sum(map(len, observations.ids.values()))
    if left >= (1 - DROPPED) * len(part.x):
        return observations, ""
    far = f"{int(outside.sum())} observations far outside the image dropped" if outside.any() else ""
    return observations, ", ".join(filter(None, [far, detail]))


def _finite(ids: Mapping[int, npt.NDArray[np.int64]], points: Mapping[int, Floats]) -> features.Observations:
    good = {view: np.isfinite(points[view]).all(axis=1) for view in ids}
    return features.Observations({view: ids[view][good[view]] for view in ids}, {view: points[view][good[view]] for view in ids})


def _labelled(triplet: str, labels: Mapping[int, str]) -> str:
    return "-".join(labels[int(view)] for view in triplet.split("-"))


def _plain_triplet(row: Row, labels: Mapping[int, str]) -> Row:
    names = ("fx", "fy", "cx", "cy", "s", "sd_f", "inliers", "tracks", "hypotheses", "physical", "status", "reason")
    return {"views": _labelled(row["triplet"], labels), **{name: row[name] for name in names}}


def _rivals(result: TripletResult | None) -> list[list[float]]:
    return [] if result is None else [[round(float(value), 4) for value in k] for k in result.rivals]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tenfold predict autocalibration`."""
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="folder of photographs, or COLMAP database or sparse model")
    parser.add_argument("--images", type=Path, action="append", default=[], metavar="FOLDER", help="photographs of one scene by one camera")
    parser.add_argument(
        "--colmap",
        type=Path,
        action="append",
        default=[],
        metavar="DATABASE_OR_SPARSE_MODEL",
        help="database.db, or a folder such as sparse/0",
    )
    parser.add_argument(
        "--assume", default="", choices=["", *estimate.SOLVERS], help="what is unknown of the camera (default: the model's)"
    )
    parser.add_argument("--principal", default="", metavar="CX,CY", help="known principal point in px (default: the image's centre)")
    parser.add_argument(
        "--undistort",
        default="",
        metavar="auto|none|K1,K2",
        help="radial distortion: auto (default: k1 is estimated where the views show some), none, or known terms that are taken off first, as in --undistort=-0.12,0",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        metavar="PX",
        help="inlier threshold (default 2; doubled if the points are too noisy for it)",
    )
    parser.add_argument("--max-seconds", type=float, default=0.0, metavar="S", help="time a scene may take (default: no limit)")
    parser.add_argument("--write-colmap", type=Path, metavar="FILE", help="copy of the --colmap database that starts from our camera")


def read_inputs(args: argparse.Namespace) -> "tuple[pd.DataFrame, list[str]]":
    """The request and the names of its scenes. Photographs are matched here, which `args.progress`, if it is there, is told of.

    Raises UsageError for arguments that do not go together, BadData for inputs that cannot be used.
    """
    import pandas as pd

    folders, projects = list(args.images), list(args.colmap)
    for given in args.inputs:
        colmap = given.is_file() or any((given / f"cameras{suffix}").is_file() for suffix in (".txt", ".bin"))
        (projects if colmap else folders).append(given)
    if not folders and not projects:
        raise UsageError("name a folder of photographs (--images FOLDER) or a COLMAP database or sparse model (--colmap PATH)")
    if args.write_colmap and (len(projects) != 1 or folders or not projects[0].is_file()):
        raise UsageError("--write-colmap needs exactly one input, a COLMAP database (--colmap database.db)")
    if args.write_colmap and args.write_colmap.exists():
        raise UsageError(f"{args.write_colmap} is there already; name another file for the copy of the database")
    named = _names([*folders, *projects])
    progress = getattr(args, "progress", None)
    frames = [_photographs(folder, name, args.threshold, progress) for folder, name in zip(folders, named, strict=False)]
    frames += [_project(path, name) for path, name in zip(projects, named[len(folders) :], strict=True)]
    frame = pd.concat(frames, ignore_index=True)
    frame.attrs.update(
        assume=args.assume,
        principal_point=args.principal,
        undistort=args.undistort,
        threshold_px=args.threshold,
        max_seconds=args.max_seconds,
    )
    if args.write_colmap:
        frame.attrs.update(write_colmap=str(args.write_colmap), colmap=str(projects[0]))
    return frame, named


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each input: of the project's folder where the file's own says nothing."""
    names: list[str] = []
    for path in paths:
        whole = path.resolve()
        parts = [
            part
            for part in (whole.with_suffix("") if whole.is_file() else whole).parts[1:]
            if part not in ("database", "sparse", "0", "images")
        ]
        name = parts[-1] if parts else "scene"
        number = sum(name == other.split("~")[0] for other in names)
        names.append(f"{name}~{number + 1}" if number else name)
    return names


def _photographs(folder: Path, name: str, threshold_px: float, progress: Progress | None) -> "pd.DataFrame":
    from tenfold.autocalibration import matching

    if not folder.is_dir():
        raise BadData(f"{folder} is no folder; name one that holds the photographs of one camera")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if len(files) < 2:
        raise BadData(f"{folder} holds {len(files)} photographs ({', '.join(PICTURES)}); at least 2 are needed, 3 for most cameras")
    sizes = [matching.size(path) for path in files]
    serving = predictor_folder.SERVING
    block = _features(serving, threshold_px or serving.threshold_px)
    with tempfile.TemporaryDirectory(prefix="tenfold-") as scratch:
        observations, _ = features.from_photographs(list(enumerate(files)), block, Path(scratch) / "matching", progress)
    # of one size, one camera: what was turned or cut is another one
    cameras = [f"{width}x{height}" if len(set(sizes)) > 1 else "" for width, height in sizes]
    return _frame(name, observations, [path.name for path in files], cameras, sizes)


def _project(path: Path, name: str) -> "pd.DataFrame":
    try:
        if path.is_dir():
            found: Scene = colmap_model.scene(colmap_model.read(path), name, lambda _: None)
        else:
            found = colmap_db.scene(colmap_db.read(path), name, lambda _: None, None)
    except Unreadable as error:
        raise BadData(f"{path}: {error.detail}; make it again with COLMAP, or name another file") from error
    if found.tracks is None or not len(found.tracks):
        raise BadData(f"{path} holds no matches; run COLMAP's feature_extractor and a matcher first")
    tracks = found.tracks
    observations, _ = features.clean(tracks.track, tracks.view, np.stack([tracks.x, tracks.y], axis=1))
    views = found.views
    return _frame(name, observations, [v.name for v in views], [v.camera for v in views], [(v.width, v.height) for v in views])


def _frame(
    name: str, observations: features.Observations, views: Sequence[str], cameras: Sequence[str], sizes: Sequence[tuple[int, int]]
) -> "pd.DataFrame":
    import pandas as pd

    if not observations.views:
        raise BadData(f"{name}: no two images have matches in common; take the photographs nearer to each other")
    frames = []
    for view in observations.views:
        ids, points = observations.ids[view], observations.points[view]
        columns = {"scene": name, "track_id": ids, "view_id": views[view], "x": points[:, 0], "y": points[:, 1]}
        frames.append(pd.DataFrame({**columns, "camera": cameras[view], "width": sizes[view][0], "height": sizes[view][1]}))
    return pd.concat(frames, ignore_index=True)


def write(result: "pd.DataFrame", names: Sequence[str], folder: Path) -> str:
    """Write `results.csv`, and for each answer `<scene>/K.json` and `<scene>/cameras.txt` (COLMAP's format); returns the lines to show.

    A scene without an answer gets a K.json that says why, and no cameras.txt. With `--write-colmap`, also the copy of the database.
    """
    out = io.StringIO(newline="")
    table = csv.DictWriter(out, [name for name in COLUMNS if name not in ("triplets", "candidates")], extrasaction="ignore")
    table.writeheader()
    lines = []
    rows = [{str(key): value for key, value in row.items()} for row in result.to_dict("records")]
    for row in rows:
        table.writerow(row)
        label = row["scene"] + (f" (camera {row['camera']})" if row["camera"] else "")
        here = folder / _safe(row["scene"]) / (_safe(row["camera"]) if row["camera"] else "")
        atomic.write_json(here / "K.json", _document(row))
        if row["answer"]:
            atomic.write_text(here / "cameras.txt", _cameras_text(row))
            lines.append(f"{label}: {_sentence(row)}")
        else:
            (here / "cameras.txt").unlink(missing_ok=True)
            lines.append(f"{label}: no calibration. {row['reason'] or row['status']} [{row['status']}]")
    atomic.write_text(folder / "results.csv", out.getvalue())
    if "write_colmap" in result.attrs:
        lines.append(_write_prior(rows, Path(result.attrs["colmap"]), Path(result.attrs["write_colmap"])))
    return "\n".join(
        [*lines, f"written to {folder}: results.csv; of each scene K.json and, where there is a camera, cameras.txt for COLMAP"]
    )


def _sentence(row: Row) -> str:
    def length(name: str) -> str:
        return f"{name} = {row[name]:.1f} ± {row[f'sd_{name}']:.1f} px" if row[f"sd_{name}"] > 0 else f"{name} = {row[name]:.1f} px"

    one = abs(row["fy"] - row["fx"]) <= 1e-9 * row["fx"]
    share = row["sd_fx"] / row["fx"]
    focal = length("fx").replace("fx", "f", 1) if one else f"{length('fx')}, {length('fy')}"
    known = "" if row["sd_cx"] > 0 else " (taken as known)"
    lines = [
        f"{focal} ({share:.1%}), field of view {_view(row['width'], row['fx'])} x {_view(row['height'], row['fy'])} degrees",
        f"principal point {row['cx']:.1f}, {row['cy']:.1f}{known}" + (f", skew {row['s']:.2f}" if row["s"] else ""),
        f"{row['views']} images of {row['width']} x {row['height']} px; {row['inliers']} of {row['tracks']} points fit",
        *row["reason"].split("; "),
    ]
    return "\n  ".join(filter(None, lines))


def _view(side: int, focal: float) -> str:
    return f"{np.degrees(2 * np.arctan(side / (2 * focal))):.1f}"


def _document(row: Row) -> Row:
    """K.json: the camera or the reason why there is none, and every set of views."""
    plain = {
        name: row[name] for name in ("scene", "camera", "status", "reason", "inliers", "tracks", "views", "width", "height", "triplet")
    }
    k = np.array([row[name] for name in INTRINSICS], dtype=np.float64)
    plain["K"] = geometry.matrix(k).tolist() if row["answer"] else None
    plain["sd"] = (
        {name: float(row[f"sd_{name}"]) if np.isfinite(row[f"sd_{name}"]) else None for name in INTRINSICS} if row["answer"] else None
    )
    plain["radial"] = {name: float(row[name]) for name in ("k1", "k2", "sd_k1")} if row["answer"] else None
    return {**plain, "triplets": json.loads(row["triplets"]), "candidates": json.loads(row["candidates"])}


def _cameras_text(row: Row) -> str:
    """The camera as COLMAP's cameras.txt; skew, which COLMAP has not, is said in a comment."""
    k = [row["fx"], row["fy"], row["cx"], row["cy"], 0.0]
    radial = (row["k1"], row["k2"])
    model, values = colmap_prior.params("SIMPLE_RADIAL" if row["k1"] and not row["k2"] else "SIMPLE_PINHOLE", k, radial)
    lines = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    if row["s"]:
        lines.append(f"# skew {row['s']!r} px is left out: COLMAP's cameras have none")
    number = row["camera"] if str(row["camera"]).isdigit() else "1"
    lines.append(f"{number} {model} {row['width']} {row['height']} {' '.join(repr(float(value)) for value in values)}")
    return "\n".join(lines) + "\n"


def _write_prior(rows: Sequence[Row], source: Path, target: Path) -> str:
    good = {int(row["camera"]): [row[name] for name in INTRINSICS] for row in rows if row["answer"]}
    if not good:
        return f"{target} is not written: no camera was calibrated"
    radial = {int(row["camera"]): (row["k1"], row["k2"]) for row in rows if row["answer"]}
    colmap_prior.write(source, target, good, radial)
    return f"{target}: copy of {source} with {len(good)} calibrated of {len(rows)} cameras"


def _safe(name: str) -> str:
    """A name that is a folder's own, never a way out of it."""
    kept = "".join(each if each.isalnum() or each in "._- ~" else "_" for each in name).strip(". ")
    return kept or "scene"
