"""COLMAP's sparse model: cameras, images, points3D, as text or binary. Own reader: no library, and errors that say where.

Coordinates of image points are px with the centre of the top-left pixel at (0.5, 0.5).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenfold.autocalibration.samples import Floats, Ints, Reference, Scene, Tracks, View, numbers, text, whole
from tenfold.core import atomic
from tenfold.core.files import Unreadable

# COLMAP's numbers of its models, and how many parameters each has.
MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
}
NUMBERS = {name: number for number, (name, _) in MODELS.items()}
_COUNTS = dict(MODELS.values())
_NO_POINT = -1


@dataclass(frozen=True)
class Camera:
    """A camera as COLMAP describes it; `params` in the order of its model."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]


@dataclass(frozen=True)
class Image:
    """One image: pose X_cam = R X + t, its points (n, 2) px and the 3D point of each (n,), -1 for none."""

    name: str
    camera: int
    R: Floats
    t: Floats
    x: Floats
    point: Ints


@dataclass(frozen=True)
class Model:
    """A sparse model: cameras and images by their ids, points by theirs."""

    cameras: dict[int, Camera]
    images: dict[int, Image]
    points: dict[int, Floats]


def read(folder: Path) -> Model:
    """The model in `folder`, text or binary. Raises Unreadable with file and line or byte for what is missing or cut off."""
    suffix = next((each for each in (".txt", ".bin") if (folder / f"cameras{each}").is_file()), None)
    if suffix is None:
        raise Unreadable("missing_file", f"{folder.name} holds neither cameras.txt nor cameras.bin")
    if suffix == ".txt":
        cameras = _cameras_text(folder / "cameras.txt")
        images = _images_text(folder / "images.txt", cameras)
        points = _points_text(folder / "points3D.txt")
    else:
        cameras = _cameras_binary(_Bytes(folder / "cameras.bin"))
        images = _images_binary(_Bytes(folder / "images.bin"), cameras)
        points = _points_binary(_Bytes(folder / "points3D.bin"))
    if not images:
        raise Unreadable("no_images", f"{folder.name}/images{suffix} lists no image")
    return Model(cameras, images, points)


def reference(camera: Camera, R: Floats | None = None, t: Floats | None = None) -> Reference | None:
    """K and radial terms of a camera; None for models that are no perspective camera (fisheye, field of view)."""
    p = camera.params
    if camera.model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"):
        k, rest = (p[0], p[0], p[1], p[2], 0.0), p[3:]
    elif camera.model in ("PINHOLE", "OPENCV", "FULL_OPENCV"):
        k, rest = (p[0], p[1], p[2], p[3], 0.0), p[4:6]
    else:
        return None
    k1, k2 = (*rest, 0.0, 0.0)[:2]
    pose = None if R is None or t is None else (*map(float, R.reshape(-1)), *map(float, t))
    return Reference(k, k1, k2, pose)


def tracks(model: Model, order: list[int]) -> Tracks:
    """Observations of 3D points; `view` counts the image ids of `order`, `track` is the point's id."""
    track, view, x = [], [], []
    for index, each in enumerate(order):
        image = model.images[each]
        seen = image.point != _NO_POINT
        track.append(image.point[seen])
        view.append(np.full(int(seen.sum()), index, np.int64))
        x.append(image.x[seen])
    points = np.concatenate(x) if x else np.empty((0, 2))
    return Tracks(np.concatenate(track), np.concatenate(view), points[:, 0].copy(), points[:, 1].copy())


def scene(model: Model, name: str, photo: Callable[[str], Path | None]) -> Scene:
    """The model's images as a scene, in order of their names. `photo` gives the file of a name, relative to the source."""
    order = sorted(model.images, key=lambda each: model.images[each].name)
    views, warnings = [], []
    for each in order:
        image = model.images[each]
        camera = model.cameras[image.camera]
        known = reference(camera, image.R, image.t)
        if known is None:
            warnings.append(f"camera {image.camera} is {camera.model}: no perspective reference")
        views.append(View(image.name, str(image.camera), camera.width, camera.height, photo(image.name), known))
    return Scene(name, views, tracks(model, order), warnings=sorted(set(warnings)))


def write_text(model: Model, folder: Path) -> None:
    """Write `cameras.txt`, `images.txt`, `points3D.txt` (errors and colours 0)."""
    cameras = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for key, each in model.cameras.items():
        cameras.append(f"{key} {each.model} {each.width} {each.height} {' '.join(map(repr, map(float, each.params)))}")
    images = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    seen: dict[int, list[str]] = {key: [] for key in model.points}
    for key, image in model.images.items():
        pose = " ".join(repr(float(value)) for value in (*quaternion(image.R), *image.t))
        images.append(f"{key} {pose} {image.camera} {image.name}")
        images.append(" ".join(f"{x!r} {y!r} {int(p)}" for (x, y), p in zip(image.x.tolist(), image.point, strict=True)))
        for index, point in enumerate(image.point.tolist()):
            if point in seen:
                seen[point].append(f"{key} {index}")
    points = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"]
    for key, X in model.points.items():
        points.append(f"{key} {' '.join(map(repr, X.tolist()))} 0 0 0 0 {' '.join(seen[key])}".rstrip())
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("cameras", cameras), ("images", images), ("points3D", points)):
        atomic.write_text(folder / f"{name}.txt", "\n".join(lines) + "\n")


def quaternion(R: Floats) -> Floats:
    """Unit quaternion (w, x, y, z), w >= 0, of a rotation matrix (3, 3): the largest eigenvector of Bar-Itzhack's matrix."""
    a = R
    matrix = np.array(
        [
            [a[0, 0] - a[1, 1] - a[2, 2], a[0, 1] + a[1, 0], a[0, 2] + a[2, 0], a[2, 1] - a[1, 2]],
            [a[0, 1] + a[1, 0], a[1, 1] - a[0, 0] - a[2, 2], a[1, 2] + a[2, 1], a[0, 2] - a[2, 0]],
            [a[0, 2] + a[2, 0], a[1, 2] + a[2, 1], a[2, 2] - a[0, 0] - a[1, 1], a[1, 0] - a[0, 1]],
            [a[2, 1] - a[1, 2], a[0, 2] - a[2, 0], a[1, 0] - a[0, 1], a[0, 0] + a[1, 1] + a[2, 2]],
        ]
    )
    x, y, z, w = np.linalg.eigh(matrix)[1][:, -1]
    found = np.array([w, x, y, z])
    return found if w >= 0 else -found


def matrix(q: Floats) -> Floats:
    """Rotation matrix of a quaternion (w, x, y, z), which is normalised first."""
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _camera(model: str, width: int, height: int, params: tuple[float, ...], where: str) -> Camera:
    count = _COUNTS.get(model)
    if count is None:
        raise Unreadable("unknown_camera", f"{where}: camera model {model!r} is none of {', '.join(_COUNTS)}")
    if len(params) != count:
        raise Unreadable("unreadable_file", f"{where}: {model} has {count} parameters, {len(params)} stand there")
    if not (np.isfinite(params).all() and width > 0 and height > 0):
        raise Unreadable("unreadable_file", f"{where}: a size or parameter is not finite or not over 0")
    return Camera(model, width, height, params)


def _pose(values: list[float], where: str) -> tuple[Floats, Floats]:
    found = np.array(values)
    # A unit quaternion, but for rounding.
    if not (np.abs(found) < 1e30).all() or not 0.5 < np.linalg.norm(found[:4]) < 2:
        raise Unreadable("unreadable_file", f"{where}: the pose is not finite, or its quaternion is not of length 1")
    return matrix(found[:4]), found[4:]


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines without comments; empty ones stay (an image without points has one)."""
    return [(number, line) for number, line in enumerate(text(path), 1) if not line.lstrip().startswith("#")]


def _cameras_text(path: Path) -> dict[int, Camera]:
    cameras: dict[int, Camera] = {}
    for at, line in _lines(path):
        words = line.split()
        if not words:
            continue
        where = f"{path.name} line {at}"
        if len(words) < 5:
            raise Unreadable("unreadable_file", f"{where}: id, model, width, height and parameters are wanted, {line[:60]!r} stands there")
        key, width, height, *params = numbers(" ".join([words[0], *words[2:]]), len(words) - 1, where)
        number = whole(key, where)
        if number in cameras:
            raise Unreadable("duplicate_camera", f"{where}: camera {number} stands there twice")
        cameras[number] = _camera(words[1], whole(width, where), whole(height, where), tuple(params), where)
    return cameras


def _images_text(path: Path, cameras: dict[int, Camera]) -> dict[int, Image]:
    lines = _lines(path)
    while lines and not lines[0][1].strip():
        lines.pop(0)
    # The last image may have no points, and its empty line may be gone.
    while len(lines) > 1 and not lines[-1][1].strip() and len(lines) % 2:
        lines.pop()
    images: dict[int, Image] = {}
    for first in range(0, len(lines), 2):
        number, line = lines[first]
        where = f"{path.name} line {number}"
        words = line.split(maxsplit=9)
        if len(words) != 10:
            raise Unreadable(
                "unreadable_file", f"{where}: id, quaternion, translation, camera and name are wanted, {line[:60]!r} stands there"
            )
        key, *pose, camera = numbers(" ".join(words[:9]), 9, where)
        R, t = _pose(pose, where)
        words2 = lines[first + 1][1].split() if first + 1 < len(lines) else []
        below = f"{path.name} line {number + 1}"
        if len(words2) % 3:
            raise Unreadable("unreadable_file", f"{below}: points come as x, y, id; {len(words2)} numbers stand there: the line is cut off")
        values = np.array(numbers(" ".join(words2), len(words2), below)).reshape(-1, 3)
        if not (np.abs(values[:, 2]) < 2.0**53).all():
            raise Unreadable("unreadable_file", f"{below}: the id of a 3D point is no number")
        seen = values[:, 2].astype(np.int64)
        _add(images, cameras, whole(key, where), Image(words[9], whole(camera, where), R, t, values[:, :2], seen), where)
    return images


def _points_text(path: Path) -> dict[int, Floats]:
    points: dict[int, Floats] = {}
    if not path.is_file():
        return points
    for number, line in _lines(path):
        words = line.split()
        if words:
            where = f"{path.name} line {number}"
            key, *X = numbers(" ".join(words[:4]), 4, where)
            points[whole(key, where)] = np.array(X)
    return points


def _add(images: dict[int, Image], cameras: dict[int, Camera], key: int, image: Image, where: str) -> None:
    if image.camera not in cameras:
        raise Unreadable("unknown_camera", f"{where}: {image.name} has camera {image.camera}, which the cameras do not list")
    if key in images or any(each.name == image.name for each in images.values()):
        raise Unreadable("duplicate_image", f"{where}: image {key} ({image.name}) stands there twice")
    images[key] = image


class _Bytes:
    """A binary file read from front to back; what is cut off raises Unreadable with the byte."""

    def __init__(self, path: Path) -> None:
        self.name, self.at = path.name, 0
        try:
            self.data = path.read_bytes()
        except FileNotFoundError:
            raise Unreadable("missing_file", f"{path.name} is missing in {path.parent.name}") from None
        except OSError as error:
            raise Unreadable("unreadable_file", f"{path.name}: {error}") from error

    def where(self) -> str:
        return f"{self.name} byte {self.at}"

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise Unreadable("truncated_file", f"{self.where()}: {size} more bytes are wanted, the file ends at {len(self.data)}")
        self.at += size
        return self.data[self.at - size : self.at]

    def ints(self, form: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))

    def doubles(self, count: int) -> list[float]:
        return list(struct.unpack(f"<{count}d", self.take(8 * count)))

    def word(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise Unreadable("truncated_file", f"{self.where()}: a name does not end")
        return self.take(end - self.at + 1)[:-1].decode("utf-8", "backslashreplace")


def _cameras_binary(data: _Bytes) -> dict[int, Camera]:
    cameras: dict[int, Camera] = {}
    for _ in range(data.ints("Q")[0]):
        where = data.where()
        key, number, width, height = data.ints("IiQQ")
        if number not in MODELS:
            raise Unreadable("unknown_camera", f"{where}: camera model {number} is unknown")
        name, count = MODELS[number]
        cameras[key] = _camera(name, width, height, tuple(data.doubles(count)), where)
    return cameras


def _images_binary(data: _Bytes, cameras: dict[int, Camera]) -> dict[int, Image]:
    images: dict[int, Image] = {}
    kind = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])
    for _ in range(data.ints("Q")[0]):
        where = data.where()
        (key,) = data.ints("I")
        R, t = _pose(data.doubles(7), where)
        (camera,) = data.ints("I")
        name = data.word()
        seen = np.frombuffer(data.take(24 * data.ints("Q")[0]), kind)
        x = np.stack([seen["x"], seen["y"]], -1).astype(np.float64)
        _add(images, cameras, key, Image(name, camera, R, t, x, seen["point"].astype(np.int64)), where)
    return images


def _points_binary(data: _Bytes) -> dict[int, Floats]:
    points: dict[int, Floats] = {}
    for _ in range(data.ints("Q")[0]):
        (key,) = data.ints("Q")
        points[key] = np.array(data.doubles(3))
        data.take(11)
        data.take(8 * data.ints("Q")[0])
    return points
