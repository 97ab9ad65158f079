"""Convert the real clips once into src/tenfold/motion_tracking/kept/real_clips.npz; run by hand, never by a pipeline.

    pip download --no-deps --only-binary :all: pybullet==3.2.7
    apt-get download assimp-testmodels && dpkg-deb -x assimp-testmodels_*.deb models
    python maintenance/motion_tracking_real_clips.py pybullet-3.2.7-*.whl models/usr/share/assimp/models/BVH

The sources are checked by sha256 and read as text; nothing of the packages is run. Licences: NOTICE.
"""

import argparse
import hashlib
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from tenfold.core.errors import BadData
from tenfold.motion_tracking import bvh, deepmimic, real_clips
from tenfold.motion_tracking.body import write_npz
from tenfold.motion_tracking.rotations import quaternion_from_matrix

_MOTIONS = "pybullet_data/data/motions"
_UNIT_M = 0.0254 / 0.45
"""CMU's unit of length."""
_KEEP_EVERY = 2
"""Of CMU's 120 frames a second."""

# name -> (kind, group, sha256 of the source). Clips of one group are never parted: one walker, one CMU subject.
DEEPMIMIC = {
    "humanoid3d_backflip": ("backflip", "backflip", "ffc5e117f69364e239eeedc86d6a30ab854500a375a1c137a405f1b7652905e6"),
    "humanoid3d_cartwheel": ("cartwheel", "cartwheel", "17453459a40ec4ea08346072748ae3c7c384b49e619753e9779637fa8a9f7c49"),
    "humanoid3d_crawl": ("crawl", "crawl", "104a3b675131a43e7a214e24c0ed631c6a0d814b85c8b66b71ce63b23a5731ae"),
    "humanoid3d_dance_a": ("dance", "dance_a", "15ef3731f594edc9ed078170f1075815cc164acaca9e35a46db12a31ac64b717"),
    "humanoid3d_dance_b": ("dance", "dance_b", "b5a9d7a3f2304f6242776d7ff6d19d1f6bcb98d78d68622761c3843b614a92b5"),
    "humanoid3d_getup_facedown": ("getup", "getup_facedown", "1bd1a96e9175f65eb66e10f225473b4467bd70c68e283f4006b2ab090e337c0b"),
    "humanoid3d_getup_faceup": ("getup", "getup_faceup", "5936c32d51dad9b0cd5e61df681079d160436cdce845c312f200d7a347c4040d"),
    "humanoid3d_jump": ("jump", "jump", "a433557e94b193d8a95530572a0e32f387eb6d9996987b4216efb65444c3c641"),
    "humanoid3d_kick": ("kick", "kick", "177cfb399466309ba7f4a8a987c3b6f6edde1cbe8b2d476e53dc6061ec5d4bac"),
    "humanoid3d_punch": ("punch", "punch", "1ab4b654cecdb4ff3b2a4bf4086e50397bef28435bb59ab3aedd6a6bdc926fde"),
    "humanoid3d_roll": ("roll", "roll", "50d75c2243b2859f8dcae4ad8fa14b59054dd9ee529b4fb52ec14470cd982c55"),
    "humanoid3d_run": ("run", "run", "2cbe488023b243e5769299158ce7c78875ec4b701a2ffe6c0beeaf83d16ca87b"),
    "humanoid3d_spin": ("spin", "spin", "9614f10b92e7a8b123990ad5bcfafc65aa4d8fa8ac7f10ade3c3591122d34425"),
    "humanoid3d_spinkick": ("kick", "spinkick", "60ec9c200d96e0cd71693061f24db0bd8da9eb295daf487f6f60f8dfb324075a"),
    "humanoid3d_walk": ("walk", "walking", "32d082c3599bc40aac50b1afa196ff1e2cf3842bb40f0541ab088845f6328a41"),
    "walker/0walk_forward": ("walk", "walking", "a8790c45361077ff07d99c3f00a1fa73b78ff3ec77d083188f13eac75dcc0a58"),
    "walker/turn_left0": ("walk", "walking", "5120bb55a4eb3ecfa75bcffcd472ad0b5be01647536f707896b9a9af655d6fce"),
    "walker/turn_left1": ("walk", "walking", "e78540dcccfad969ff1304182de293714c1db163096ee37a02dbf34930e0c3d0"),
    "walker/turn_right0": ("walk", "walking", "c1fa371a7d7d625970ad7fec0bb2d7ba59205acb74f8fac15f46799ae3a80ce3"),
    "walker/turn_right1": ("walk", "walking", "3a655a1e9334cef592b5b7bef4fd7a52e46fcacc8c7c807cfa1bee8249e6350d"),
}
# Pieces of about 7.5 s: a clip is the unit of every mean over clips.
CMU = {
    "01_01": ("jumps", 3, "1d9ee909452ee62784306545cf1fcd634243db1173e0c90cecbed793e50361a8"),
    "01_03": ("climb", 5, "72d3f37de5af9adfc228dda72422cadb8cfc58d1cd8336076241ba115715c87c"),
}
CMU_GROUP = "cmu_01"


def convert(wheel: Path, hierarchies: Path, rest: np.ndarray) -> list[real_clips.Real]:
    """Every clip on a body with joints at `rest` (22, 3), its pelvis in leg lengths."""
    leg = float(np.linalg.norm(rest[4] - rest[1]) + np.linalg.norm(rest[7] - rest[4]))
    clips = []
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        for name, (kind, group, sha256) in DEEPMIMIC.items():
            text = Path(folder) / "motion.txt"
            text.write_bytes(_checked(name, archive.read(f"{_MOTIONS}/{name}.txt"), sha256))
            carried = deepmimic.read(text, rest)
            short = name.split("/")[-1].removeprefix("humanoid3d_").removeprefix("0")
            clips.append(real_clips.Real(short, kind, group, carried.local, (carried.root + rest[0]) / leg, carried.fps))
    for name, (kind, pieces, sha256) in CMU.items():
        path = hierarchies / f"{name}.bvh"
        _checked(name, path.read_bytes(), sha256)
        carried = bvh.carry_over(bvh.read(path), rest, metres_per_unit=_UNIT_M)
        # The first frame of these conversions is the rest pose.
        shown = np.arange(1, len(carried.local), _KEEP_EVERY)
        place = (carried.root + rest[0]) / leg
        for number, part in enumerate(np.array_split(shown, pieces)):
            clips.append(
                real_clips.Real(f"cmu_{name}_{number}", kind, CMU_GROUP, carried.local[part], place[part], carried.fps / _KEEP_EVERY)
            )
    return clips


def pack(clips: list[real_clips.Real], path: Path) -> None:
    """Write what real_clips.read reads; equal clips give equal bytes."""
    quaternion = np.concatenate([quaternion_from_matrix(clip.local) for clip in clips])
    write_npz(
        path,
        {
            "name": np.array([clip.name for clip in clips]), "kind": np.array([clip.kind for clip in clips]),
            "group": np.array([clip.group for clip in clips]), "fps": np.array([clip.fps for clip in clips]),
            "length": np.array([len(clip.local) for clip in clips]),
            "quaternion": np.round(quaternion * real_clips.SCALE).astype(np.int16),
            "place": np.concatenate([clip.place for clip in clips]).astype(np.float32),
        },
    )  # fmt: skip


def _checked(name: str, data: bytes, sha256: str) -> bytes:
    have = hashlib.sha256(data).hexdigest()
    if have != sha256:
        raise BadData(f"{name}: sha256 is {have}, not {sha256}. Take the version that the docstring names.")
    return data


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="wheel of pybullet 3.2.7")
    parser.add_argument("bvh", type=Path, help="folder of 01_01.bvh and 01_03.bvh")
    parser.add_argument("--out", type=Path, default=Path(real_clips.__file__).parent / real_clips.FILE)
    given = parser.parse_args()
    pack(convert(given.wheel, given.bvh, _mean_body()), given.out)
    print(f"{given.out}: {given.out.stat().st_size} bytes, sha256 {hashlib.sha256(given.out.read_bytes()).hexdigest()}")


def _mean_body() -> np.ndarray:
    from tenfold.motion_tracking import procedural_body

    model = procedural_body.arrays()
    return model["J_regressor"].astype(np.float64) @ model["v_template"].astype(np.float64)


if __name__ == "__main__":
    main()
