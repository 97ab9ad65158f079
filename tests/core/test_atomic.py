"""Atomic files and folders: the old or the new, never a mixture."""

import json
import math
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core import atomic

STEPS = ("fsync", "replace", "rename")


def killed_at(step: int, action: Callable[[], Any]) -> bool:
    """Run `action` in a child that gets SIGKILL before its `step`-th flush or rename; True if it was killed."""
    child = os.fork()
    if child == 0:
        left = iter(range(step))

        def killing(real: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any) -> Any:
                if next(left, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments)

            return counted

        for name in STEPS:
            setattr(os, name, killing(getattr(os, name)))
        action()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@settings(deadline=None, max_examples=25)
@given(st.binary(max_size=200), st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes, text: str) -> None:
    folder = tmp_path_factory.mktemp("atomic")
    atomic.write_bytes(folder / "deep" / "b", data)
    atomic.write_text(folder / "deep" / "t", text)
    atomic.write_json(folder / "deep" / "j", {"text": text})
    assert (folder / "deep" / "b").read_bytes() == data
    assert (folder / "deep" / "t").read_bytes().decode() == text
    assert json.loads((folder / "deep" / "j").read_bytes()) == {"text": text}
    assert names(folder / "deep") == ["b", "j", "t"]


def test_json_is_standard(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic.write_json(tmp_path / "x", math.nan)
    assert names(tmp_path) == []


@pytest.mark.parametrize("step", STEPS[:2])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    atomic.write_text(tmp_path / "x", "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        atomic.write_text(tmp_path / "x", "new")
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_a_write_killed_at_any_step_leaves_old_or_new(tmp_path: Path) -> None:
    seen = set()
    for step in range(10):
        atomic.write_text(tmp_path / "x", "old")
        killed = killed_at(step, lambda: atomic.write_text(tmp_path / "x", "new"))
        seen.add((tmp_path / "x").read_text())
        assert all(name == "x" or atomic.is_leftover(name) for name in names(tmp_path))
        if not killed:
            break
    assert (step, seen) == (3, {"old", "new"})


def test_a_file_is_flushed_before_and_its_folder_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flush(handle: int) -> None:
        done.append("flush folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "flush file")
        fsync(handle)

    def move(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", move)
    atomic.write_text(tmp_path / "x", "new")
    assert done == ["flush file", "rename", "flush folder"]


def test_new_parents_are_flushed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync = os.fsync

    def flush(handle: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", flush)
    atomic.write_text(tmp_path / "a" / "b" / "x", "new")
    assert done[:2] == [tmp_path.name, "a"] and atomic.is_leftover(done[2]) and done[3:] == ["b"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "x", "")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_new_folder_is_flushed_whole_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def flush(handle: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def move(source: Path, target: Path) -> None:
        done.append(f"{source.name} -> {target.name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "rename", move)
    make(tmp_path / "f", "new")
    temporary = done[2]
    assert done == ["new", "deep", temporary, f"{temporary} -> f", tmp_path.name]
    assert atomic.is_leftover(temporary)


def make(folder: Path, text: str) -> None:
    with atomic.new_folder(folder) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / text).write_text(text)


def test_a_folder_replaces_an_older_one_whole(tmp_path: Path) -> None:
    make(tmp_path / "f", "old")
    make(tmp_path / "f", "new")
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f" / "deep") == ["new"]


def test_a_failed_folder_is_removed_and_the_old_one_stays(tmp_path: Path) -> None:
    make(tmp_path / "f", "old")
    with pytest.raises(KeyboardInterrupt), atomic.new_folder(tmp_path / "f") as temporary:
        (temporary / "x").write_text("")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f" / "deep") == ["old"]


def test_without_an_exchange_a_folder_is_replaced_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)  # NFS, say
    make(tmp_path / "f", "old")
    make(tmp_path / "f", "new")
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f" / "deep") == ["new"]


def test_an_exchange_tells_what_cannot_be_done_from_what_went_wrong(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError):
        atomic._exchange(tmp_path / "a", tmp_path / "gone")
    assert atomic._exchange(tmp_path, tmp_path / "a") is False  # a folder with one inside it: the system calls that invalid


def test_the_old_folder_comes_back_when_the_new_one_cannot_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    make(tmp_path / "f", "old")
    real = os.rename

    def fail_once(source: Path, target: Path) -> None:
        if target == tmp_path / "f":
            monkeypatch.setattr(os, "rename", real)
            raise OSError("refused")
        real(source, target)

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(OSError, match="refused"):
        make(tmp_path / "f", "new")
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f" / "deep") == ["old"]


def test_a_new_folder_killed_at_any_step_is_whole_or_absent(tmp_path: Path) -> None:
    results = []
    for step in range(20):
        final = tmp_path / str(step) / "f"
        killed = killed_at(step, partial(make, final, "new"))
        results.append(final.exists())
        if final.exists():
            assert (final / "deep" / "new").read_text() == "new"
        if not killed:
            break
    assert results[0] is False and results[-1] is True
    assert results == sorted(results)
