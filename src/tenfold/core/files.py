"""Files of the user's folder: read only if they are what they seem."""

from pathlib import Path


class Unreadable(Exception):
    """A file or a sample cannot be used; it goes to the quarantine. `reason` is a short stable name."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def regular(root: Path, relative: Path, most: int) -> tuple[Path, int]:
    """The file `root/relative`, links followed, and its size (bytes).

    Raises Unreadable for links that leave `root`, files of more than `most` bytes and whatever is no regular file; OSError and
    RuntimeError (a circle of links) for what cannot be looked at.
    """
    real = (root / relative).resolve(strict=True)
    if not real.is_relative_to(root.resolve()):
        raise Unreadable("link_outside", f"{relative} is a link to {real}, outside the dataset's folder")
    if not real.is_file():
        raise Unreadable("not_a_file", f"{relative} is no regular file")
    size = real.stat().st_size
    if size > most:
        raise Unreadable("absurd_size", f"{relative} has {size} bytes, at most {most} are read")
    return real, size
