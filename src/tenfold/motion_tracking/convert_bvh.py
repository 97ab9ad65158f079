"""`python -m tenfold.motion_tracking.convert_bvh`: BVH files into AMASS's layout, on the project's own body or a given one."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tenfold.core.errors import BadData, TenfoldError
from tenfold.motion_tracking import amass_file, body, bvh, procedural_body, real_clips, skeleton
from tenfold.motion_tracking.body import Body


def main(arguments: Sequence[str]) -> int:
    """Convert each file to `<out>/<name>_poses.npz`. Returns the exit code; what cannot be read is told and the others still converted."""
    parser = argparse.ArgumentParser(prog="convert-bvh", description="Convert BVH files to AMASS-layout npz (z-up, metres).")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.bvh")
    parser.add_argument("--out", type=Path, required=True, help="folder <Subset>/<subject> to write to")
    parser.add_argument("--metres-per-unit", type=float, required=True, help="0.01 for centimetres, 0.0564444 for CMU's conversions")
    parser.add_argument("--map", type=Path, help="JSON object: our joint -> the file's; without it the names of CMU's conversions")
    parser.add_argument("--up", choices=("y", "z"), default="y", help="axis of the file that points up")
    parser.add_argument("--forward", choices=("z", "-z", "x", "-x", "y", "-y"), default="z", help="where the skeleton looks at rest")
    parser.add_argument("--body", type=Path, help="model.npz to put the motion on; without it the project's own body")
    parser.add_argument("--skip-first", action="store_true", help="the first frame is the rest pose, as in CMU's conversions")
    parser.add_argument("--keep-height", action="store_true", help="do not put the lowest foot on the floor")
    given = parser.parse_args(arguments)
    failed = 0
    try:
        human, names = _body(given.body), _names(given.map)
    except TenfoldError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for path in given.files:
        try:
            carried = bvh.carry_over(
                bvh.read(path), human.rest, names, metres_per_unit=given.metres_per_unit, up=given.up, forward=given.forward
            )
        except TenfoldError as error:
            print(error, file=sys.stderr)
            failed += 1
            continue
        first = 1 if given.skip_first else 0
        local, root = carried.local[first:], carried.root[first:]
        if not len(local):
            print(f"{path}: no frame is left after the first. Leave out --skip-first.", file=sys.stderr)
            failed += 1
            continue
        if not given.keep_height:
            root = real_clips.on_floor(local, root, human.rest)
        target = given.out / f"{path.stem}_poses.npz"
        amass_file.write(target, local, root, np.zeros(skeleton.BETAS), carried.fps)
        print(f"{target}: {len(local)} frames at {carried.fps:.4g} Hz")
    return 1 if failed else 0


def _names(path: Path | None) -> Mapping[str, str]:
    if path is None:
        return bvh.CMU
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as cause:
        raise BadData(f"{path}: the joint map cannot be read as JSON ({cause}).") from cause
    if not isinstance(found, dict) or not all(isinstance(word, str) for word in found.values()):
        raise BadData(f'{path}: the joint map must be an object of names, as {{"pelvis": "Hips", ...}}.')
    return found


def _body(path: Path | None) -> Body:
    if path is not None:
        return body.load(path)
    with TemporaryDirectory() as folder:
        procedural_body.write(Path(folder) / "model.npz")
        return body.load(Path(folder) / "model.npz")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
