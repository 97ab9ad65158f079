"""The five photographs inside gtsam: found, verified, and read so that the file's own points reproject."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from tenfold.autocalibration import balbianello, bundler
from tenfold.core.errors import BadData


@pytest.fixture(scope="module")
def found() -> dict[str, Path]:
    return balbianello.located()


def test_the_file_s_points_reproject(found: dict[str, Path], tmp_path: Path) -> None:
    """Section 4.1: 5 cameras, 544 points, 1417 observations, median 0.13 px, rms 0.42 px."""
    bundle = bundler.read_out(found[balbianello.RECONSTRUCTION])
    tracks = bundle.tracks
    assert len(bundle.radial) == 5 and len(bundle.X) == 544 and len(tracks) == 1417
    camera = np.einsum("nij,nj->ni", bundle.R[tracks.view], bundle.X[tracks.track]) + bundle.t[tracks.view]
    assert (camera[:, 2] > 0).all()
    flat = camera[:, :2] / camera[:, 2:]
    f, k1, k2 = bundle.radial[tracks.view].T
    square = (flat**2).sum(1)
    seen = (f * (1 + k1 * square + k2 * square**2))[:, None] * flat
    error = np.linalg.norm(seen - np.stack([tracks.x, tracks.y], -1), axis=1)
    assert abs(np.median(error) - 0.13) < 0.01 and abs(np.sqrt((error**2).mean()) - 0.42) < 0.01


def test_the_scene_has_the_reference_of_the_specification(tmp_path: Path) -> None:
    scene = balbianello.copy(tmp_path)
    assert scene.tracks is not None and len(scene.tracks) == 1417
    lengths = np.unique(np.unique(scene.tracks.track, return_counts=True)[1], return_counts=True)[1].tolist()
    assert lengths == [319, 131, 84, 10]
    for view in scene.views:
        known = view.reference
        assert known is not None and known.k1 is not None
        assert known.k[0] == known.k[1] == pytest.approx(519.63, abs=0.005) and known.k[2:] == (320.0, 213.5, 0.0)
        assert known.k1 == pytest.approx(-0.12, abs=0.01)
        assert view.image is not None and (tmp_path / view.image).is_file()
    assert (scene.tracks.x > 0).all() and (scene.tracks.x < 640).all() and (scene.tracks.y > 0).all() and (scene.tracks.y < 427).all()
    shared = [set(scene.tracks.where(scene.tracks.view == view).track.tolist()) for view in range(5)]
    common = [len(shared[i] & shared[j] & shared[k]) for i, j, k in ((0, 1, 2), (1, 2, 3), (0, 1, 3), (0, 2, 3), (2, 3, 4))]
    assert common == [145, 119, 79, 78, 42]


def test_the_second_scene_is_what_a_lens_without_distortion_would_show(tmp_path: Path) -> None:
    raw = balbianello.copy(tmp_path)
    clean = balbianello.undistorted(raw)
    assert clean.name == "balbianello_undistorted" and clean.tracks is not None and raw.tracks is not None
    for view in clean.views:
        assert view.reference is not None and (view.reference.k1, view.reference.k2) == (0.0, 0.0)
    centre = np.array([320.0, 213.5])
    before = np.linalg.norm(np.stack([raw.tracks.x, raw.tracks.y], -1) - centre, axis=1)
    after = np.linalg.norm(np.stack([clean.tracks.x, clean.tracks.y], -1) - centre, axis=1)
    # a barrel: what it shows lies too near to the centre, more so outside
    assert (after >= before).all() and (after / before)[before > 250].min() > 1.02 and (after / before)[before < 50].max() < 1.002


def test_files_are_only_read_with_their_hash(found: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Package:
        version = "4.3.0"

        def locate_file(self, place: str) -> Path:
            return tmp_path / place

    for name, (place, _) in balbianello.FILES.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(found[name].read_bytes())
    monkeypatch.setattr(balbianello, "distribution", lambda name: Package())
    balbianello.located()
    photo = tmp_path / "gtsam/Data/Balbianello/BalbianelloMedium-3.jpg"
    whole = photo.read_bytes()
    photo.write_bytes(whole[:-1])
    with pytest.raises(BadData, match="BalbianelloMedium-3.jpg of gtsam 4.3.0 has sha256 .* pip install --force-reinstall"):
        balbianello.located()
    photo.unlink()
    with pytest.raises(BadData, match="BalbianelloMedium-3.jpg of gtsam 4.3.0 cannot be read"):
        balbianello.located()


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(balbianello, "distribution", absent)
    with pytest.raises(BadData, match="not installed. .*gtsam==4.3.0"):
        balbianello.located()
