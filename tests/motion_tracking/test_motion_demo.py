"""The demo dataset: AMASS's layout, splits without a leak, the same bytes each time, settings that give none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tenfold.core.errors import UsageError
from tenfold.core.progress import Event, Progress
from tenfold.motion_tracking import body, demo, kinematics, real_clips, skeleton
from tenfold.motion_tracking.config import Make
from tenfold.motion_tracking.rotations import matrix_from_axis_angle

SMALL = Make(
    train=8, validation=3, test=5, seconds=1.5, subjects={"train": 3, "validation": 2, "test": 2},
    kinds=["walk", "mixed", "run", "squat", "sidestep", "reach", "kick", "idle"], tremor=1.0, real=True, headings=2, mirror=True, seed=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo.make(SMALL, folder, Progress())
    return folder


def _lists(folder: Path) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for path in sorted(folder.glob("splits/*/*_split.txt")):
        lists.setdefault(path.name.removesuffix("_split.txt"), []).extend(path.read_text().split())
    return lists


def _load(folder: Path, place: str) -> dict[str, np.ndarray]:
    with np.load(folder / "amass" / place, allow_pickle=False) as found:
        return dict(found)


def test_the_layout_is_amass_and_the_lists_name_every_file_once(made: Path) -> None:
    lists = _lists(made)
    places = sorted(path.relative_to(made / "amass").as_posix() for path in made.glob("amass/*/*/*_poses.npz"))
    assert sorted(sum(lists.values(), [])) == places
    assert {place.split("/")[0] for place in places} == {"GenWalk", "GenMixed", "RealClips"}
    generated = {split: [place for place in names if not place.startswith("Real")] for split, names in lists.items()}
    assert {split: len(names) for split, names in generated.items()} == {"train": 8, "validation": 3, "test": 5}
    one = _load(made, generated["train"][0])
    frames = 90
    assert {key: one[key].shape for key in ("poses", "trans", "betas", "dmpls")} == {
        "poses": (frames, 156), "trans": (frames, 3), "betas": (16,), "dmpls": (frames, 8)
    }  # fmt: skip
    assert str(one["gender"]) == "neutral" and float(one["mocap_framerate"]) == 60.0 and (one["poses"][:, 66:] == 0).all()


def test_no_subject_and_no_real_group_is_in_two_splits(made: Path) -> None:
    seen: dict[str, set[str]] = {}
    for split, places in _lists(made).items():
        for place in places:
            found = _load(made, place)
            seen.setdefault(f"subject {place.split('/')[1]}", set()).add(split)
            seen.setdefault(f"group {found['group']}", set()).add(split)
            seen.setdefault(f"betas {found['betas'].round(6).tolist()}", set()).add(split)
            assert (str(found["source"]) == "real") == place.startswith("RealClips")
            assert str(found["kind"])
    assert all(len(splits) == 1 for splits in seen.values())


def test_unseen_real_motion_is_tested_as_measured_and_training_motion_copied(made: Path) -> None:
    lists = _lists(made)
    test = [place for place in lists["test"] if place.startswith("Real")]
    train = [place for place in lists["train"] if place.startswith("Real")]
    real = real_clips.read()
    groups = {clip.group for clip in real}
    assert set(demo.REAL_TEST) < groups
    assert len(test) == sum(clip.group in demo.REAL_TEST for clip in real) == 18
    assert len(train) == 4 * sum(clip.group not in demo.REAL_TEST for clip in real)
    assert not any(place.startswith("Real") for place in lists["validation"])
    clip = next(each for each in real if each.name == "jump")
    found = _load(made, "RealClips/jump/jump_poses.npz")
    local = matrix_from_axis_angle(found["poses"][:, :66].reshape(-1, skeleton.COUNT, 3))
    assert np.allclose(local, clip.local, atol=1e-6)


def test_a_mirrored_copy_is_the_mirror_image_up_to_a_turn(made: Path) -> None:
    human = body.load(made / "smplh" / "neutral" / "model.npz")
    swap = list(skeleton.MIRROR)
    distances = []
    for copy in (0, 1):
        found = _load(made, f"RealClips/kick_{copy}/kick_{copy}_poses.npz")
        local = matrix_from_axis_angle(found["poses"][:, :66].reshape(-1, skeleton.COUNT, 3))
        _, positions = kinematics.forward(local, human.rest, found["trans"])
        chosen = positions[:, swap] if copy else positions
        distances.append(np.linalg.norm(chosen[:, :, None] - chosen[:, None], axis=-1))
        assert np.percentile(positions[:, 10:12, 2].min(1), 2) == pytest.approx(0.025, abs=0.15)
    assert np.allclose(*distances, atol=1e-6)


def test_copies_of_a_clip_face_round_about(made: Path) -> None:
    headings = []
    for copy in (0, 2):
        found = _load(made, f"RealClips/kick_{copy}/kick_{copy}_poses.npz")
        headings.append(matrix_from_axis_angle(found["poses"][0, :3]))
    assert np.degrees(np.arccos((np.trace(headings[0].T @ headings[1]) - 1) / 2)) > 5


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(made: Path, tmp_path: Path) -> None:
    small = replace(SMALL, real=False, train=2, validation=0, test=1)
    again, other = tmp_path / "again", tmp_path / "other"
    demo.make(small, again, Progress())
    demo.make(replace(small, seed=4), other, Progress())
    names = [path.relative_to(again).as_posix() for path in sorted(again.rglob("*.npz"))]
    assert len(names) == 4
    for name in names:
        assert (again / name).read_bytes() == (made / name).read_bytes()
        assert (again / name).read_bytes() != (other / name).read_bytes() or "smplh" in name
    assert not (again / "amass" / "RealClips").exists()


def test_it_says_how_far_it_is(tmp_path: Path) -> None:
    events: list[Event] = []
    demo.make(replace(SMALL, real=False, train=2, validation=0, test=0), tmp_path, Progress(events.append))
    assert (events[-1].stage, events[-1].done, events[-1].total) == ("clips", 2, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kinds": ["walk", "swim"]}, "swim"), ({"kinds": []}, "nothing"), ({"train": 0}, "train"), ({"test": -1}, "test"),
        ({"seconds": 0.2}, "seconds"), ({"seconds": 1e9}, "seconds"), ({"tremor": -1.0}, "tremor"), ({"headings": 0}, "headings"),
        ({"subjects": {"train": 1, "test": 1}}, "subjects"), ({"subjects": {"train": 1, "validation": 0, "test": 1}}, "subjects"),
    ],
)  # fmt: skip
def test_settings_that_give_no_dataset_are_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        demo.make(replace(SMALL, **change), tmp_path, Progress())  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())
