"""Predict on the user's own scans: a score, a decision, boxes and a heat map a part, from a self-contained folder.

The steps are those of `prepare`, `features` and `scoring`, so a part gets the same numbers here as in an evaluation.
"""

import argparse
import base64
import binascii
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from tenfold.core import atomic, params, seeding
from tenfold.core.errors import BadData, UsageError
from tenfold.core.files import Unreadable
from tenfold.crossmodal_anomaly import images, maps, prepare, scoring
from tenfold.crossmodal_anomaly.extractors import Extractors
from tenfold.crossmodal_anomaly.model import CrossModal
from tenfold.crossmodal_anomaly.packing import pack, unpack
from tenfold.crossmodal_anomaly.predictor_folder import Recipe, read
from tenfold.crossmodal_anomaly.regions import Region, regions
from tenfold.crossmodal_anomaly.train import read_network

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("score", "is_anomaly", "threshold", "boxes", "map")
OPTIONS = {"maps": True}

Decode = Callable[[bytes], tuple[npt.NDArray[Any], list[str]]]


@dataclass(frozen=True)
class Prediction:
    """One part: its score, the map `(size, size)` float32, and the regions over the pixel threshold."""

    score: float
    map: npt.NDArray[np.float32]
    regions: list[Region]


class Predictor:
    """A trained network with all that leads from a raw scan to its score."""

    def __init__(self, recipe: Recipe, extractors: Extractors, network: CrossModal, bytes_only: bool = False) -> None:
        self.recipe, self.extractors, self.network, self.bytes_only = recipe, extractors, network, bytes_only

    @classmethod
    def load(cls, folder: Path, bytes_only: bool = False) -> Self:
        """From the folder `predictor` of a model. `bytes_only` refuses `Path` cells; text is never taken for a path in any case."""
        recipe, extractors = read(Path(folder))
        return cls(recipe, extractors, read_network(Path(folder) / "mappers.safetensors"), bytes_only)

    def predict(self, frame: "pd.DataFrame", params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """One row of `score, is_anomaly, threshold, boxes, map` for each row of `rgb, xyz`.

        A cell holds the file's content (PNG, TIFF ...) as bytes or base64 text, an array ((H, W, 3) uint8; (H, W, 3) float32 in the
        dataset's unit), or a `Path`. `boxes` is JSON, see `regions.Region`; `map` is base64 of a float16 `.npy`, empty with the parameter
        `maps` False. Parameters may also stand in `frame.attrs`. Raises BadData naming the row for a missing modality, unreadable bytes, or
        sizes that differ.
        """
        import pandas as pd

        carried = {name: frame.attrs[name] for name in OPTIONS if name in frame.attrs}
        options = _options({**carried, **(params or {})})
        missing = [name for name in ("rgb", "xyz") if name not in frame.columns]
        if missing:
            raise BadData(
                f"the request has no column `{missing[0]}` (columns: {', '.join(map(str, frame.columns)) or 'none'}); "
                f"the method compares colour with geometry and needs both `rgb` and `xyz`"
            )
        rows = []
        for number, (rgb, xyz) in enumerate(zip(frame["rgb"], frame["xyz"], strict=True)):
            try:
                found = self.examine(self._array(rgb, "rgb", images.read_rgb), self._array(xyz, "xyz", images.read_xyz))
            except (BadData, Unreadable) as error:
                raise BadData(f"row {number}: {error}") from error
            rows.append(self._row(found, bool(options["maps"])))
        return pd.DataFrame(rows, columns=list(COLUMNS), index=frame.index)

    def examine(self, rgb: npt.NDArray[np.uint8], xyz: npt.NDArray[np.float32], xyz_scale: float | None = None) -> Prediction:
        """One part: rgb (H, W, 3) uint8, xyz (H, W, 3) float32; `xyz_scale` (m per unit) replaces the training data's."""
        recipe = self.recipe
        block = recipe.prepared
        scale = np.float32(recipe.xyz_scale if xyz_scale is None else xyz_scale)
        cleaned, squared, found = prepare.clean(xyz * scale, rgb, block, seeding.rng(block.seed, "plane"))
        cloud, image = prepare.to_grid(cleaned, squared, block.size)
        valid = prepare.valid_points(cloud, block.validity)
        if valid.sum() < block.min_points:
            remarks = "; ".join(found.warnings)
            raise BadData(
                f"{int(valid.sum())} points are left after cleaning, {block.min_points} are needed; check the scan and its unit. {remarks}"
            )
        features = self.extractors.extract(image, cloud, valid)
        # Stored features are half precision: the same rounding here gives the same numbers.
        info = {"grid": features.grid, "size": block.size, "depth": features.depth, "pruned": []}
        part = unpack(pack(features, "part"), info)
        scored = scoring.score_network(self.network, part, recipe.maps)
        heat = maps.normalise(scored.maps[recipe.maps.combine], recipe.maps.score_norm, "regions")
        boxes = regions(heat, recipe.pixel_threshold, cloud, valid, found.square)
        return Prediction(scored.scores[recipe.maps.combine], heat, boxes)

    def _row(self, found: Prediction, with_map: bool) -> dict[str, Any]:
        return {
            "score": found.score,
            "is_anomaly": found.score > self.recipe.image_threshold,
            "threshold": self.recipe.image_threshold,
            "boxes": json.dumps([asdict(region) for region in found.regions]),
            "map": _encode(found.map) if with_map else "",
        }

    def _array(self, cell: object, name: str, decode: Decode) -> npt.NDArray[Any]:
        if isinstance(cell, np.ndarray):
            return _checked(cell, name)
        if isinstance(cell, Path) and not self.bytes_only:
            try:
                return decode(cell.read_bytes())[0]
            except OSError as error:
                raise BadData(f"{cell} cannot be read: {error.strerror}") from error
            except Unreadable as error:
                raise BadData(f"{cell}: {error}") from error
        if isinstance(cell, str):
            try:
                cell = base64.b64decode(cell, validate=True)
            except (binascii.Error, ValueError) as error:
                raise BadData(f"`{name}` is text but not base64; send the file's bytes, not a path") from error
        if isinstance(cell, bytes | bytearray | memoryview) and len(cell):
            return decode(bytes(cell))[0]
        what = "empty" if cell is None or isinstance(cell, float | bytes) else f"of type {type(cell).__name__}"
        raise BadData(f"`{name}` is {what}; the method needs both modalities, each as the file's bytes, base64 text or an array")


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in OPTIONS:
            raise UsageError(f"prediction has no parameter `{name}`{params.did_you_mean(name, OPTIONS)}")
    return {**OPTIONS, **given}


def _checked(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    kind = np.dtype(np.uint8 if name == "rgb" else np.float32)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != kind:
        raise BadData(f"`{name}` is an array of {array.dtype} {array.shape}; wanted {kind} (H, W, 3)")
    return array


def _encode(image: npt.NDArray[np.float32]) -> str:
    stream = io.BytesIO()
    np.save(stream, image.astype(np.float16), allow_pickle=False)
    return base64.b64encode(stream.getvalue()).decode()


def decode_map(text: str) -> npt.NDArray[np.float16]:
    """The map `(size, size)` of a row of predictions."""
    return np.asarray(np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tenfold predict crossmodal_anomaly`."""
    parser.add_argument(
        "inputs", nargs="*", type=Path, metavar="INPUT", help="folders with rgb/ and xyz/ in them, at any depth; paired by stem"
    )
    parser.add_argument("--rgb", type=Path, metavar="FILE", help="colour image of one part (with --xyz)")
    parser.add_argument("--xyz", type=Path, metavar="FILE", help="organised cloud of one part, TIFF (with --rgb)")
    parser.add_argument("--no-maps", action="store_true", help="write scores and boxes only")


def read_inputs(args: argparse.Namespace) -> "tuple[pd.DataFrame, list[str]]":
    """The request, whose cells are paths (so that one part at a time is in memory), and a name for each row.

    Raises UsageError if no part is named, BadData for a picture without its cloud or the reverse.
    """
    import pandas as pd

    pairs: list[tuple[str, Path, Path]] = []
    if bool(args.rgb) != bool(args.xyz):
        raise UsageError("--rgb and --xyz go together: the method compares the two")
    if args.rgb:
        pairs.append((args.rgb.stem, args.rgb, args.xyz))
    for folder in args.inputs:
        pairs += _pairs(folder)
    if not pairs:
        raise UsageError("name a folder that holds rgb/ and xyz/, or one part by --rgb FILE --xyz FILE")
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two parts would be written as `{twice}`; give folders with different names, or predict them one by one")
    frame = pd.DataFrame({"rgb": [rgb for _, rgb, _ in pairs], "xyz": [xyz for _, _, xyz in pairs]}, dtype=object)
    frame.attrs["maps"] = not args.no_maps
    return frame, names


def _pairs(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name, picture and cloud of every part below `folder`."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name one that holds rgb/ and xyz/, or use --rgb FILE --xyz FILE")
    colours = sorted(path for path in [folder / "rgb", *folder.rglob("*/rgb")] if path.is_dir())
    if not colours:
        raise UsageError(f"{folder} holds no folder named rgb; put the pictures into rgb/ and the clouds into xyz/")
    for colour in colours:
        rgb = _by_stem(colour, images.RGB_SUFFIXES)
        xyz = _by_stem(colour.parent / "xyz", images.XYZ_SUFFIXES)
        for stem in sorted(rgb.keys() ^ xyz.keys()):
            have, lack = ("rgb", "xyz") if stem in rgb else ("xyz", "rgb")
            raise BadData(f"{colour.parent}: {have}/ has `{stem}`, {lack}/ has not; the method needs both, paired by their stem")
        prefix = colour.parent.relative_to(folder)
        for stem in sorted(rgb):
            yield str(prefix / stem), rgb[stem], xyz[stem]


def _by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes:
            if path.stem in found:
                raise BadData(f"{found[path.stem]} and {path} have one stem; keep one of them")
            found[path.stem] = path
    return found


def write(result: "pd.DataFrame", names: Sequence[str], folder: Path) -> str:
    """Write `scores.csv`, and for each part with a map `maps/<name>.npy` and `heat/<name>.png`; returns the lines to show.

    Maps of an earlier prediction into the same folder go; files of others stay. Heat maps share one colour scale, black at 0 and
    brightest at twice the part threshold.
    """
    _remove_earlier(folder)
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(["name", "score", "is_anomaly", "threshold", "boxes"])
    lines = []
    for name, row in zip(names, result.to_dict("records"), strict=True):
        table.writerow([name, row["score"], row["is_anomaly"], row["threshold"], row["boxes"]])
        verdict = "ANOMALOUS" if row["is_anomaly"] else "good"
        count = len(json.loads(row["boxes"]))
        lines.append(f"{name}: {verdict}, score {row['score']:.4g} (threshold {row['threshold']:.4g}), {count} regions")
        if row["map"]:
            image = decode_map(row["map"])
            with atomic.new_file(folder / "maps" / f"{name}.npy") as path, path.open("wb") as stream:
                np.save(stream, image, allow_pickle=False)
            atomic.write_bytes(folder / "heat" / f"{name}.png", _heat(image, 2 * row["threshold"]))
    atomic.write_text(folder / "scores.csv", out.getvalue())
    return "\n".join([*lines, f"written to {folder}"])


def _remove_earlier(folder: Path) -> None:
    """The maps of the parts that an earlier `scores.csv` names."""
    try:
        rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    except (FileNotFoundError, UnicodeDecodeError):
        return
    for row in rows:
        for path in (folder / "maps" / f"{row.get('name')}.npy", folder / "heat" / f"{row.get('name')}.png"):
            if path.resolve().is_relative_to(folder.resolve()):
                path.unlink(missing_ok=True)


def _heat(image: npt.NDArray[np.float16], brightest: float) -> bytes:
    from matplotlib import colormaps
    from PIL import Image

    shade = np.clip(image.astype(np.float32) / max(brightest, 1e-12), 0, 1)
    stream = io.BytesIO()
    Image.fromarray(colormaps["inferno"](shade, bytes=True)[..., :3]).save(stream, "PNG")
    return stream.getvalue()
