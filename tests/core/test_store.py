"""The store: kills at any step, damage to any byte, two processes on one key."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core import atomic
from tenfold.core import store as store_module
from tenfold.core.errors import BadData, Corrupt, Superseded, Unwritable, UsageError
from tenfold.core.stage import Check, Note
from tenfold.core.store import Manifest, Pointer, Store, Working, content_key, digest_files

KEY = "0123456789abcdef"
FIELDS: dict[str, Any] = {
    "partition": "demo.a",
    "upstream": {"dataset": {"key": "k", "digest": "d"}},
    "block": {"lr": 1.0e-3, "seeds": [0, 1]},
    "overrides": {"lr": 1.0e-3},
    "code": "c0de",
    "versions": {"python": "3.11"},
    "made_by": {"run_id": "r", "git_commit": "g", "git_dirty": False},
    "seconds": 1.5,
    "notes": [Note("parts", "int", 3)],
    "checks": [Check("C1", True, "warn", "holds", [Note("measured", "float", 0.9)])],
    "facts": {"grid": 56},
}


def fill(folder: Path, text: str = "one") -> None:
    (folder / "deep").mkdir(exist_ok=True)
    (folder / "a.txt").write_text(text)
    (folder / "deep" / "b.bin").write_bytes(bytes(range(256)))
    (folder / "empty").write_bytes(b"")


def make(store: Store, key: str = KEY, text: str = "one", **changes: Any) -> Manifest:
    with store.working("p", "model", key) as working:
        fill(working.out, text)
        (working.scratch / "checkpoint").write_text("x")
        return store.publish(working, **(FIELDS | changes))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_back(store: Store) -> dict[str, bytes]:
    return {name: data for name, data in content(store.folder("p", "model", KEY)).items() if name != "manifest.json"}


def in_a_child(action: Callable[[], Any]) -> int:
    """Run `action` in a forked child; its exit status as os.waitpid gives it."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def kill_before(step: int) -> None:
    """From now on SIGKILL this process before its `step`-th flush, rename, hash or deletion."""
    left = iter(range(step))

    def killing(real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return counted

    for name in ("fsync", "replace", "rename", "rmdir", "unlink"):
        setattr(os, name, killing(getattr(os, name)))
    setattr(store_module, "_hash", killing(store_module._hash))  # noqa: B010


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


# --- publish and find


def test_what_was_published_is_found(tmp_path: Path) -> None:
    made = make(Store(tmp_path))
    store = Store(tmp_path)
    found = store.find("p", "model", KEY)
    assert found == made
    assert read_back(store) == {"a.txt": b"one", "deep/b.bin": bytes(range(256)), "empty": b""}
    assert {name: entry["bytes"] for name, entry in made.files.items()} == {"a.txt": 3, "deep/b.bin": 256, "empty": 0}
    assert made.digest == digest_files(made.files)
    assert {name: getattr(made, name) for name in FIELDS} == FIELDS
    assert not (tmp_path / "work" / "p" / "model" / KEY).exists()
    assert store.warnings == []


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert Store(tmp_path).find("p", "model", KEY) is None
    assert list(tmp_path.iterdir()) == []


def test_publishing_twice_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = make(store)

    def written() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_ino, path.stat().st_ctime_ns) for path in store.folder("p", "model", KEY).rglob("*")}

    before = written()
    assert make(store, text="two", facts={}) == first
    assert written() == before
    assert list(store.unfinished()) == []


def test_a_digest_may_be_given(tmp_path: Path) -> None:
    assert make(Store(tmp_path), digest="rows").digest == "rows"
    found = Store(tmp_path).find("p", "model", KEY)
    assert found is not None and found.digest == "rows"


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "broken link", "pipe"])
def test_an_output_holds_plain_files_only(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path)
    with store.working("p", "model", KEY) as working:
        fill(working.out)
        odd = working.out / "deep" / "odd"
        if kind == "pipe":
            os.mkfifo(odd)
        else:
            targets = {"link to a file": __file__, "link to a folder": str(tmp_path), "broken link": str(tmp_path / "gone")}
            odd.symlink_to(targets[kind])
        with pytest.raises(BadData, match=r"deep/odd is .*plain files only"):
            store.publish(working, **FIELDS)
        assert store.find("p", "model", KEY) is None
        odd.unlink()
        store.publish(working, **FIELDS)
    assert store.find("p", "model", KEY) is not None


def test_a_name_that_could_not_be_read_back_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.working("p", "model", KEY) as working:
        (working.out / "a\\b").write_text("")
        with pytest.raises(BadData, match="name cannot be stored"):
            store.publish(working, **FIELDS)


def test_different_disks_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(UsageError, match="on one disk"):
        make(Store(tmp_path))


@pytest.mark.parametrize("name", ["..", "../x", "/x", "a/b", "", ".hidden", "a\0b"])
def test_no_name_leads_out_of_the_home(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "home")
    for attempt in (
        lambda: store.folder(name, "model", KEY),
        lambda: store.find("p", "model", name),
        lambda: store.current("p", name, "model"),
        lambda: store.set_current("p", "demo", name, KEY, "d"),
        lambda: store.discard("p", "model", name),
    ):
        with pytest.raises(UsageError, match="cannot be the name"):
            attempt()
    assert list(tmp_path.iterdir()) == []


# --- kills and crashes


def test_a_kill_at_any_step_of_publish_loses_nothing(tmp_path: Path) -> None:
    wanted = {"a.txt": b"one", "deep/b.bin": bytes(range(256)), "empty": b""}
    published = []
    for step in range(100):
        store = Store(tmp_path / str(step))
        with store.working("p", "model", KEY) as working:
            fill(working.out)
            (working.scratch / "checkpoint").write_text("x")

        def die(store: Store = store, step: int = step) -> None:
            with store.working("p", "model", KEY) as working:
                kill_before(step)
                store.publish(working, **FIELDS)

        status = in_a_child(die)
        assert os.WIFSIGNALED(status) or status == 0
        found = store.find("p", "model", KEY)
        published.append(found is not None)
        assert store.warnings == []
        if found is None:
            with store.working("p", "model", KEY) as working:
                assert {name: content(working.out)[name] for name in wanted} == wanted
                assert content(working.scratch) == {"checkpoint": b"x"}
                found = store.publish(working, **FIELDS)
        assert read_back(store) == wanted
        assert found.digest == digest_files(found.files) and set(found.files) == set(wanted)
        if status == 0:
            break
    assert status == 0
    # Absent at first, then there for good: one rename decides.
    assert published == sorted(published)
    assert published.count(False) >= 10 and published.count(True) >= 3


@pytest.mark.parametrize("step", ["fsync", "replace", "rename"])
def test_an_error_in_publish_keeps_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    store = Store(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with store.working("p", "model", KEY) as working:
        fill(working.out)
        (working.scratch / "checkpoint").write_text("x")
        with monkeypatch.context() as patched, pytest.raises((OSError, Unwritable), match=r"No space left|no space is left"):
            patched.setattr(os, step, fail)
            store.publish(working, **FIELDS)
    assert store.find("p", "model", KEY) is None
    with store.working("p", "model", KEY) as working:
        assert (working.out / "a.txt").read_text() == "one"
        assert (working.scratch / "checkpoint").exists()
        store.publish(working, **FIELDS)
    assert store.find("p", "model", KEY) is not None


def test_files_are_on_the_disk_before_the_manifest_and_it_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace
    moved: dict[str, str] = {}

    def flush(handle: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def move(source: Path, target: Path) -> None:
        moved[Path(target).name] = Path(source).name
        done.append("-> " + Path(target).name)
        (replace if Path(target).name == "manifest.json" else rename)(source, target)

    store = Store(tmp_path)
    with store.working("p", "model", KEY) as working:
        fill(working.out)
        monkeypatch.setattr(os, "fsync", flush)
        monkeypatch.setattr(os, "rename", move)
        monkeypatch.setattr(os, "replace", move)
        store.publish(working, **FIELDS)
    steps = [moved["manifest.json"] if name == moved["manifest.json"] else name for name in done]
    assert sorted(steps[:5]) == ["a.txt", "b.bin", "deep", "empty", "out"]
    assert steps[5:] == [moved["manifest.json"], "-> manifest.json", "out", "-> " + KEY, "model", "p", "store", tmp_path.name]


KILLED = """
import sys, time
from pathlib import Path
from tenfold.core.store import Store
with Store(Path(sys.argv[1])).working("p", "model", sys.argv[2]) as working:
    (working.out / "part-1").write_text("done")
    (working.out / ".part-2.0a1b2c3d.tenfold-tmp").write_text("half")
    (working.scratch / "checkpoint").write_text("step 7")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_after_kill_9_the_next_run_finds_the_work(tmp_path: Path) -> None:
    process = run(KILLED, tmp_path, KEY)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    store = Store(tmp_path)
    assert [(entry.key, entry.manifest) for entry in store.unfinished()] == [(KEY, None)]
    assert store.discard("p", "model", KEY) is False
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert store.find("p", "model", KEY) is None
    start = time.monotonic()
    with store.working("p", "model", KEY) as working:
        assert time.monotonic() - start < 5
        assert content(working.out) == {"part-1": b"done"}
        assert content(working.scratch) == {"checkpoint": b"step 7"}
        assert set(store.publish(working, **FIELDS).files) == {"part-1"}


CONTENDER = """
import json, sys, time
from pathlib import Path
from tenfold.core.store import Store
home, key, log, fields = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])
store = Store(home)
print("ready", flush=True)
while not (home / "go").exists():
    time.sleep(0.01)
with store.working("p", "model", key) as working:
    manifest = store.find("p", "model", key)
    if manifest is None:
        with log.open("a") as file:
            file.write("built\\n")
        time.sleep(0.5)
        (working.out / "x").write_text(str(time.time_ns()))
        manifest = store.publish(working, **fields)
print(manifest.digest)
"""


def test_of_two_processes_one_works_and_both_get_its_output(tmp_path: Path) -> None:
    fields = {name: value for name, value in FIELDS.items() if name not in ("notes", "checks")}
    both = [run(CONTENDER, tmp_path, KEY, tmp_path / "log", json.dumps(fields)) for _ in range(2)]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    (tmp_path / "go").write_text("")
    digests = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert digests[0] == digests[1] and len(digests[0]) == 65
    assert (tmp_path / "log").read_text() == "built\n"


def test_a_thread_that_waits_says_so_and_then_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entered: list[str] = []

    def second() -> None:
        with Store(tmp_path).working("p", "model", KEY):
            entered.append("second")

    thread = threading.Thread(target=second)
    with caplog.at_level(logging.WARNING), Store(tmp_path).working("p", "model", KEY):
        thread.start()
        deadline = time.monotonic() + 30
        while "waiting for another process" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
        entered.append("first")
    thread.join(30)
    assert entered == ["first", "second"]
    assert "waiting for another process" in caplog.text


def test_other_keys_do_not_wait(tmp_path: Path) -> None:
    with Store(tmp_path).working("p", "model", KEY):
        assert in_a_child(lambda: make(Store(tmp_path), key="f" * 16)) == 0


# --- damage


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("published")
    make(Store(home))
    return home


def size(home: Path, name: str) -> int:
    return (home / "store" / "p" / "model" / KEY / name).stat().st_size


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_flipped_bit_anywhere_is_noticed(published: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    wanted = Store(published).find("p", "model", KEY)
    home = tmp_path_factory.mktemp("flip") / "home"
    shutil.copytree(published / "store", home / "store")
    name = data.draw(st.sampled_from(["a.txt", "deep/b.bin", "manifest.json"]))
    path = home / "store" / "p" / "model" / KEY / name
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    found = Store(home).find("p", "model", KEY)
    # Blanks of the manifest may change without changing what it says.
    assert found is None or (name == "manifest.json" and found == wanted)


def damage_cut(folder: Path) -> None:
    (folder / "deep" / "b.bin").write_bytes(b"")


def damage_gone(folder: Path) -> None:
    (folder / "empty").unlink()


def damage_no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def damage_manifest_cut(folder: Path) -> None:
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes()[:100])


def damage_linked(folder: Path) -> None:
    (folder / "a.txt").rename(folder.parent / "elsewhere")
    (folder / "a.txt").symlink_to(folder.parent / "elsewhere")


def damage_folder_linked(folder: Path) -> None:
    (folder / "deep").rename(folder.parent / "elsewhere")
    (folder / "deep").symlink_to(folder.parent / "elsewhere")


def damage_folder_for_file(folder: Path) -> None:
    (folder / "empty").unlink()
    (folder / "empty").mkdir()


def damage_file_for_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


DAMAGES = [
    damage_cut,
    damage_gone,
    damage_no_manifest,
    damage_manifest_cut,
    damage_linked,
    damage_folder_linked,
    damage_folder_for_file,
    damage_file_for_folder,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_moved_aside_and_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    first = make(Store(tmp_path))
    store = Store(tmp_path)
    damage(store.folder("p", "model", KEY))
    assert store.find("p", "model", KEY) is None
    assert not store.folder("p", "model", KEY).exists()
    (warning,) = store.warnings
    (aside,) = (tmp_path / "work" / "corrupt" / "p" / "model").iterdir()
    assert str(aside) in warning and "made again" in warning
    assert list(store.unfinished()) == []
    assert make(store).digest == first.digest
    assert store.find("p", "model", KEY) is not None


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "deep/../../secret", "./a.txt", "a//b", "", ".", "..\\secret"])
def test_a_manifest_that_names_a_file_outside_is_refused(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    made = make(store)
    folder = store.folder("p", "model", KEY)
    (folder.parent / "secret").write_text("s")
    entry = store_module.FileEntry(sha256=store_module._hash(folder.parent / "secret", flush=False)[0], bytes=1)
    Manifest(**(vars(made) | {"files": {**made.files, name: entry}})).write(folder / "manifest.json")
    with pytest.raises(Corrupt, match="outside its folder"):
        Manifest.read(folder / "manifest.json")
    assert store.find("p", "model", KEY) is None
    assert (store.home / "store" / "p" / "model" / "secret").read_text() == "s"


def test_the_manifest_of_another_output_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store)
    shutil.copytree(store.folder("p", "model", KEY), store.folder("p", "model", "f" * 16))
    assert store.find("p", "model", "f" * 16) is None
    assert "holds the manifest of" in store.warnings[0]


def test_a_file_that_may_not_be_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    make(store)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store_module, "_hash", refuse)
    with pytest.raises(PermissionError):
        store.find("p", "model", KEY)
    assert store.folder("p", "model", KEY).exists()


# --- what counts now


def test_open_follows_the_pointer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(UsageError, match=r"no p/model for demo\.a yet.*tenfold run p\.demo\.a --to model"):
        store.open("p", "demo.a", "model")
    made = make(store)
    store.set_current("p", "demo.a", "model", KEY, made.digest)
    assert store.current("p", "demo.a", "model") == Pointer(KEY, made.digest)
    assert store.current("p", "demo.b", "model") is None
    assert Store(tmp_path).open("p", "demo.a", "model") == (store.folder("p", "model", KEY), made)
    assert list(store.pointers()) == [("p", "demo.a", "model", Pointer(KEY, made.digest))]


def test_open_checks_once_a_process_and_again_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.set_current("p", "demo.a", "model", KEY, make(store).digest)
    reader = Store(tmp_path)
    hashed: list[Path] = []
    real = store_module._hash

    def counted(path: Path, flush: bool) -> tuple[str, int]:
        hashed.append(path)
        return real(path, flush)

    monkeypatch.setattr(store_module, "_hash", counted)
    reader.open("p", "demo.a", "model")
    reader.open("p", "demo.a", "model")
    assert len(hashed) == 3
    shutil.rmtree(reader.folder("p", "model", KEY))
    store.set_current("p", "demo.a", "model", KEY, make(Store(tmp_path), text="two").digest)
    hashed.clear()
    reader.open("p", "demo.a", "model")
    assert len(hashed) == 3


def test_open_says_how_to_make_what_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.set_current("p", "demo.a", "model", KEY, make(store).digest)
    damage_cut(store.folder("p", "model", KEY))
    with pytest.raises(Corrupt, match="tenfold run p.demo.a --to model"):
        Store(tmp_path).open("p", "demo.a", "model")
    shutil.rmtree(store.folder("p", "model", KEY), ignore_errors=True)
    with pytest.raises(Corrupt, match="gone or damaged"):
        store.open("p", "demo.a", "model")


def test_a_broken_pointer_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    atomic.write_text(tmp_path / "current" / "p" / "demo" / "model.json", "{")
    with pytest.raises(Corrupt, match=r"model\.json cannot be read.*tenfold run p\.demo --to model"):
        store.current("p", "demo", "model")


def test_a_reader_sees_one_pointer_or_the_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.set_current("p", "demo", "model", "a" * 16, "a" * 64)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for letter in "ab":
                store.set_current("p", "demo", "model", letter * 16, letter * 64)

    thread = threading.Thread(target=write)
    thread.start()
    seen = [store.current("p", "demo", "model") for _ in range(500)]
    stop.set()
    thread.join()
    assert set(seen) <= {Pointer("a" * 16, "a" * 64), Pointer("b" * 16, "b" * 64)}


def test_a_pointer_is_written_when_it_says_something_new(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = tmp_path / "current" / "p" / "demo" / "model.json"
    store.set_current("p", "demo", "model", KEY, "d")
    written = path.stat().st_ino
    store.set_current("p", "demo", "model", KEY, "d")
    assert path.stat().st_ino == written
    path.write_text("{")
    store.set_current("p", "demo", "model", KEY, "d")
    assert store.current("p", "demo", "model") == Pointer(KEY, "d")


def test_a_pointer_whose_digest_was_changed_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = make(store)
    store.set_current("p", "demo.a", "model", KEY, made.digest)
    path = tmp_path / "current" / "p" / "demo.a" / "model.json"
    path.write_text(path.read_text().replace(made.digest, "0" + made.digest[1:] if made.digest[0] != "0" else "1" + made.digest[1:]))
    with pytest.raises(Corrupt, match=r"model\.json names another digest.*tenfold run p\.demo\.a --to model"):
        store.open("p", "demo.a", "model")


def test_what_rests_on_something_replaced_does_not_become_current(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.set_current("p", "demo.a", "features", "f1", "d1")
    used = {"features": {"key": "f1", "digest": "d1"}}
    store.set_current("p", "demo.a", "model", "m1", "x1", used)
    store.set_current("p", "demo.a", "features", "f2", "d1")
    store.set_current("p", "demo.a", "model", "m2", "x2", used)  # another key, the same content
    store.set_current("p", "demo.a", "features", "f3", "d3")
    with pytest.raises(Superseded, match=r"p\.demo\.a: another run has made another `features` current.*run the same command again"):
        store.set_current("p", "demo.a", "model", "m3", "x3", used)
    assert store.current("p", "demo.a", "model") == Pointer("m2", "x2")


# --- lineage


def test_lineage_has_what_was_made_first_first_and_each_once(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def publish(asset: str, key: str, **upstream: str) -> None:
        with store.working("p", asset, key) as working:
            (working.out / "x").write_text(key)
            store.publish(working, **{**FIELDS, "upstream": {name: {"key": other, "digest": "d"} for name, other in upstream.items()}})

    publish("dataset", "d")
    publish("features", "f", dataset="d")
    publish("model", "m", features="f")
    publish("evaluation", "e", features="f", model="m", baselines="gone")
    found = store.lineage("p", ("evaluation", "e"), ("model", "m"))
    assert list(found) == [("baselines", "gone"), ("dataset", "d"), ("features", "f"), ("model", "m"), ("evaluation", "e")]
    assert {output[0] for output, manifest in found.items() if manifest is None} == {"baselines"}
    assert found["model", "m"] == store.manifest("p", "model", "m")
    (store.folder("p", "model", "m") / "manifest.json").write_text("{")
    assert store.lineage("p", ("model", "m")) == {("model", "m"): None}


# --- housekeeping


def test_entries_list_what_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = make(store)
    make(store, key="f" * 16)
    (store.folder("p", "model", "f" * 16) / "manifest.json").write_text("{")
    with store.working("p", "model", "e" * 16) as working:
        (working.scratch / "x").write_text("12345")
    entries = list(store.entries())
    assert [(each.key, each.manifest) for each in entries] == [(KEY, made), ("f" * 16, None)]
    assert entries[0].bytes == 259 + size(tmp_path, "manifest.json")
    assert [(each.paper, each.asset, each.key, each.bytes) for each in store.unfinished()] == [("p", "model", "e" * 16, 5)]


def test_only_what_nobody_points_to_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.set_current("p", "demo.a", "model", KEY, make(store).digest)
    with pytest.raises(UsageError, match=r"in use by demo\.a"):
        store.remove("p", "model", KEY)
    store.set_current("p", "demo.a", "model", "f" * 16, "d")
    store.remove("p", "model", KEY)
    store.remove("p", "model", KEY)
    assert store.find("p", "model", KEY) is None
    assert list(store.entries()) == []


def test_unfinished_work_is_discarded_on_request(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.working("p", "model", KEY) as working:
        fill(working.out)
    assert store.discard("p", "model", KEY) is True
    assert list(store.unfinished()) == []


def test_a_removal_killed_at_any_step_leaves_all_or_nothing(tmp_path: Path) -> None:
    for step in range(50):
        store = Store(tmp_path / str(step))
        made = make(store)

        def die(store: Store = store, step: int = step) -> None:
            kill_before(step)
            store.remove("p", "model", KEY)

        status = in_a_child(die)
        assert store.find("p", "model", KEY) in (made, None)
        assert store.warnings == []
        assert store.discard("p", "model", KEY)
        if status == 0:
            break
    assert status == 0 and step > 3


# --- keys


PARTS = st.fixed_dictionaries(
    {
        "paper": st.sampled_from(["p", "q"]),
        "asset": st.sampled_from(["model", "features"]),
        "upstream_digests": st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"])),
        "block": st.dictionaries(
            st.sampled_from(["a", "b"]), st.integers(0, 2) | st.floats(0, 1) | st.lists(st.integers(0, 1), max_size=2)
        ),
        "code": st.sampled_from(["x", "y"]),
        "extra": st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"])),
    }
)


@settings(deadline=None, max_examples=50)
@given(PARTS, PARTS)
def test_keys_differ_exactly_when_something_does(one: dict[str, Any], other: dict[str, Any]) -> None:
    def turned(parts: dict[str, Any]) -> dict[str, Any]:
        return {name: dict(reversed(value.items())) if isinstance(value, dict) else value for name, value in parts.items()}

    assert content_key(**one) == content_key(**turned(one))
    assert (content_key(**one) == content_key(**other)) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))
    assert len(content_key(**one)) == 16 and int(content_key(**one), 16) >= 0


def test_a_key_refuses_what_has_no_single_form() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        content_key("p", "model", {}, {"lr": float("nan")}, "c")
    with pytest.raises(TypeError):
        content_key("p", "model", {}, {"path": Path("x")}, "c")


def test_the_digest_rests_on_names_and_hashes_alone() -> None:
    one = {"b": store_module.FileEntry(sha256="1", bytes=1), "a": store_module.FileEntry(sha256="2", bytes=1)}
    assert digest_files(one) == digest_files(dict(reversed(one.items())))
    swapped = {"b": one["a"], "a": one["b"]}
    assert digest_files(swapped) != digest_files(one)


def test_the_store_loads_no_heavy_library() -> None:
    script = "import sys, tenfold.core.store; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(run(script).communicate()[0].split())
    assert "tenfold" in loaded
    assert not loaded & {"torch", "pandas", "numpy", "pyarrow", "yaml", "mlflow", "dagster", "difflib"}


def test_working_folders_are_those_of_the_contract(tmp_path: Path) -> None:
    with Store(tmp_path).working("p", "model", KEY) as working:
        folder = tmp_path / "work" / "p" / "model" / KEY
        assert working == Working("p", "model", KEY, folder / "out", folder / "scratch")
