"""ETH3D's high-resolution scenes: undistorted photos and a sparse model in COLMAP's text.

<scene>/images/dslr_images_undistorted/*.JPG
<scene>/dslr_calibration_undistorted/{cameras,images,points3D}.txt
"""

from pathlib import Path

from tenfold.autocalibration import colmap_model
from tenfold.autocalibration.samples import Scene

MODEL = "dslr_calibration_undistorted"


def is_scene(folder: Path) -> bool:
    """Whether a folder looks like a scene of ETH3D."""
    return (folder / MODEL).is_dir()


def read(source: Path, folder: Path, name: str) -> Scene:
    """The scene in `source / folder`, with tracks and reference of its model. Raises Unreadable with file and line."""
    model = colmap_model.read(source / folder / MODEL)
    # Whoever fetched the calibration alone has tracks and reference, and no photos.
    has_photos = (source / folder / "images").is_dir()
    return colmap_model.scene(model, name, lambda title: folder / "images" / title if has_photos else None)
