"""Whether a stage's output is what `dvc.lock` says, by its bytes: DVC itself trusts sizes, times and write protection."""

import hashlib
import json
from pathlib import Path

FOLDER = ".dir"


def damaged(out: Path, md5: str, cache: Path, whole: bool) -> list[Path]:
    """Files of the output that are not what was recorded, and objects of the cache that they would come back from as damaged.

    Args:
        md5: of one file, or with `.dir` of the listing of a folder, as `dvc.lock` has it.
        cache: the folder of DVC's objects, `ab/cdef...` for the md5 `abcdef...`.
        whole: also the files in subfolders (pictures, scans); without, those that stand in the folder itself (tables).
    """
    if not md5.endswith(FOLDER):
        return _differing(out, md5, cache)
    listing = _object(cache, md5)
    if md5_of(listing) != md5.removesuffix(FOLDER):
        return [listing]
    found: list[Path] = []
    for entry in json.loads(listing.read_bytes()):
        if whole or "/" not in entry["relpath"]:
            found += _differing(out / entry["relpath"], entry["md5"], cache)
    return found


def md5_of(path: Path) -> str:
    """md5 of a file in hex, empty if there is none."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""


def _differing(path: Path, md5: str, cache: Path) -> list[Path]:
    if md5_of(path) == md5:
        return []
    kept = _object(cache, md5)
    return [path] if md5_of(kept) in (md5, "") else [path, kept]


def _object(cache: Path, md5: str) -> Path:
    return cache / md5[:2] / md5[2:]
