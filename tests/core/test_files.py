from pathlib import Path

import pytest

from tenfold.core.files import Unreadable, regular


def test_a_file_is_found_with_its_size_through_links_inside(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.bin").write_bytes(b"12345")
    (tmp_path / "link.bin").symlink_to(tmp_path / "real" / "a.bin")
    assert regular(tmp_path, Path("link.bin"), 5) == (tmp_path / "real" / "a.bin", 5)


@pytest.mark.parametrize(("name", "reason"), [("out", "link_outside"), ("folder", "not_a_file"), ("large", "absurd_size")])
def test_what_is_not_what_it_seems_has_its_reason(tmp_path: Path, name: str, reason: str) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"1")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "large").write_bytes(b"123456")
    with pytest.raises(Unreadable, match=name) as caught:
        regular(root, Path(name), 5)
    assert caught.value.reason == reason


def test_what_is_absent_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        regular(tmp_path, Path("absent"), 5)
