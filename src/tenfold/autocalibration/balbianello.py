"""Five photographs of Villa del Balbianello that the installed package gtsam carries, with their reconstruction by Bundler.

Nothing is downloaded and the package is never imported: its files are located and their sha256 compared. 640 x 427 px, Canon EOS
Rebel T1i, 2010; the reference focal (519.63 px) is the mean of five refined apart (sd 1.31 px). Licence: BSD, with gtsam.
"""

import hashlib
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

from tenfold.autocalibration import bundler, geometry
from tenfold.autocalibration.samples import Scene
from tenfold.core.errors import BadData

NAME = "balbianello"
PACKAGE, VERSION = "gtsam", "4.3.0"
SIZE = (640, 427)
RECONSTRUCTION = "Balbianello.out"
PHOTOS = tuple(f"BalbianelloMedium-{number}.jpg" for number in range(1, 6))
# Place in the package and sha256.
FILES = {
    RECONSTRUCTION: ("gtsam/Data/Balbianello.out", "ac0c2338b12fb15f286e6a7830c81bf7d6c84f3dfb030ce164cc6fbc9fffe7d0"),
    **{
        name: (f"gtsam/Data/Balbianello/{name}", digest)
        for name, digest in zip(
            PHOTOS,
            (
                "420db7f69ee7a1e2ac24dee66723fed738e8fe90e158fd1a174da3245137fd5a",
                "6aee777d0b0bb76a94d995c19f9322d5296a8303099e772dd620dec61696a341",
                "979269582e53d847deebcbd038fca9e0d56e183142059802594502a005ef2b0d",
                "6b6b0420f2078031e31cf4db8627b7e4cbb099d33c72cc3c033944e9b7ca458d",
                "af87dafcfa6dfcbd108c524e5b1f91e15fe983537a2f9fb032705c61c498a236",
            ),
            strict=True,
        )
    },
}


def located() -> dict[str, Path]:
    """Name -> file in the installed package, each verified. Raises BadData if the package or a file is missing or another one."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        raise BadData(f"the package {PACKAGE}, which carries the photographs, is not installed. {_remedy()}") from None
    found = {}
    for name, (place, digest) in FILES.items():
        path = Path(str(package.locate_file(place)))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadData(f"{place} of {PACKAGE} {package.version} cannot be read ({error.strerror}). {_remedy()}") from error
        seen = hashlib.sha256(content).hexdigest()
        if seen != digest:
            raise BadData(f"{place} of {PACKAGE} {package.version} has sha256 {seen}, {digest} is wanted. {_remedy()}")
        found[name] = path
    return found


def copy(folder: Path) -> Scene:
    """Copy the photographs to `folder`/photos, and give the scene with the tracks of the reconstruction."""
    found = located()
    photos = [Path("photos") / name for name in PHOTOS]
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for path in photos:
        shutil.copyfile(found[path.name], folder / path)
    bundle = bundler.read_out(found[RECONSTRUCTION])
    return bundler.scene(bundle, NAME, list(PHOTOS), photos, [SIZE] * len(PHOTOS))


def undistorted(scene: Scene) -> Scene:
    """The same scene with the mean distortion of the file taken out of its tracks; the photographs stay as they are."""
    known = scene.views[0].reference
    if known is None or known.k1 is None or known.k2 is None or scene.tracks is None:
        raise BadData(f"{scene.name} has no known distortion to take out.")
    tracks = scene.tracks
    moved = geometry.undistort(np.stack([tracks.x, tracks.y], axis=-1), np.array(known.k), known.k1, known.k2)
    views = [replace(view, reference=replace(view.reference, k1=0.0, k2=0.0)) for view in scene.views if view.reference is not None]
    return replace(scene, name=f"{scene.name}_undistorted", views=views, tracks=replace(tracks, x=moved[:, 0], y=moved[:, 1]))


def _remedy() -> str:
    return f"Install it again: pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
