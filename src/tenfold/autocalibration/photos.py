"""A plain folder of photos: cameras told apart by size and by what EXIF says of body, lens and focal length."""

from pathlib import Path

from tenfold.autocalibration.samples import Scene, View, image_size
from tenfold.core.files import Unreadable

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
_MAKE, _MODEL, _ORIENTATION, _EXIF = 271, 272, 274, 34665
_FOCAL, _LENS = 37386, 42036


def is_scene(folder: Path) -> bool:
    """Whether photos lie directly in a folder."""
    return folder.is_dir() and any(_is_photo(path) for path in folder.iterdir())


def read(source: Path, folder: Path, name: str) -> Scene:
    """The photos of `source / folder` in order of their names, without tracks and without reference."""
    views, warnings = [], []
    for path in sorted(each for each in (source / folder).iterdir() if _is_photo(each)):
        relative = path.relative_to(source)
        try:
            width, height = image_size(source, relative, decode=False)
            camera, turned = _camera(path)
        except Unreadable:
            # Kept as a view: judged, and refused with its reason, with all the others.
            width, height, camera, turned = 0, 0, "", False
        if turned:
            warnings.append(f"{path.name} is turned by EXIF only: read as it is stored")
        views.append(View(path.name, camera, width, height, relative))
    return Scene(name, views, None, warnings=warnings)


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _camera(path: Path) -> tuple[str, bool]:
    """What EXIF says of the camera (empty if nothing), and whether the picture is stored turned."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            exif = image.getexif()
            more = exif.get_ifd(_EXIF)
    except (OSError, SyntaxError, ValueError):
        return "", False
    words = [str(exif.get(tag, "")).strip(" \0") for tag in (_MAKE, _MODEL)]
    words += [str(more.get(_LENS, "")).strip(" \0"), f"{float(more[_FOCAL]):g} mm" if more.get(_FOCAL) else ""]
    return " ".join(each for each in words if each), exif.get(_ORIENTATION, 1) not in (0, 1)
