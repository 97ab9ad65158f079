"""The store on an object store, against a real S3 server: nothing half published, one winner, damage seen. See docs/growth.md."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.config import Config
from growth.objects import ObjectStore
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tenfold.core import atomic
from tenfold.core.errors import Corrupt, Superseded
from tenfold.core.shards import ShardReader, ShardWriter
from tenfold.core.store import Manifest, Pointer, Store

KEY, BUCKET = "0123456789abcdef", "store"
FIELDS: dict[str, Any] = {
    "partition": "demo", "upstream": {}, "block": {}, "overrides": {}, "code": "", "versions": {}, "made_by": {}, "seconds": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """One request at a time: a condition and its put are one step, as in S3."""
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


def client(address: str) -> Any:
    config = Config(retries={"total_max_attempts": 1}, proxies={})
    return boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s", config=config
    )


@pytest.fixture
def objects(address: str) -> Iterator[ObjectStore]:
    s3 = client(address)
    s3.create_bucket(Bucket=BUCKET)
    yield ObjectStore(s3, BUCKET)
    for each in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        s3.delete_object(Bucket=BUCKET, Key=each["Key"])
    s3.delete_bucket(Bucket=BUCKET)


def publish(home: Path, value: int = 1) -> tuple[Store, Manifest]:
    """A local output with shards, a file below a folder, and an empty one."""
    store = Store(home)
    with store.working("p", "model", KEY) as working:
        with ShardWriter(working.out / "parts", 200) as writer:
            for number in range(4):
                writer.add(str(number), {"x": np.full(30, number * value, np.int32)})
        atomic.write_text(working.out / "report.html", f"<p>{value}</p>")
        (working.out / "empty").touch()
        return store, store.publish(working, **FIELDS)


def contents(store: Store) -> dict[str, bytes]:
    folder = store.folder("p", "model", KEY)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_one_machine_publishes_another_reads(objects: ObjectStore, tmp_path: Path) -> None:
    here, manifest = publish(tmp_path / "here")
    there = Store(tmp_path / "there")
    assert objects.fetch(there, "p", "model", KEY) is None
    assert objects.publish(here, manifest) == manifest == objects.publish(here, manifest)
    assert objects.fetch(there, "p", "model", KEY) == manifest and contents(there) == contents(here)
    assert ShardReader(there.folder("p", "model", KEY) / "parts").get("3")["x"].tolist() == [3] * 30
    assert objects.garbage() == set()


def test_a_crash_before_any_request_publishes_all_or_nothing(objects: ObjectStore, address: str, tmp_path: Path) -> None:
    here, manifest = publish(tmp_path / "here")
    seen = []
    for step in range(50):
        child = os.fork()
        if child == 0:
            mortal, left = client(address), iter(range(step))

            def die(left: Iterator[int] = left, **_: Any) -> None:
                if next(left, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)

            mortal.meta.events.register("before-send.s3", die)
            ObjectStore(mortal, BUCKET).publish(here, manifest)
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        there = Store(tmp_path / str(step))
        found = objects.fetch(there, "p", "model", KEY)
        assert found in (None, manifest) and (found is None or contents(there) == contents(here))
        seen.append(found is not None)
        if not killed:
            break
    assert not killed and seen == [False] * len(manifest.files) + [False, True], "the manifest's put, the last, decides"


def test_of_two_writers_of_one_key_one_wins_and_nothing_is_mixed(objects: ObjectStore, address: str, tmp_path: Path) -> None:
    """Their contents differ, as timings do."""
    homes = [publish(tmp_path / name, value) for name, value in (("a", 1), ("b", 2))]
    barrier = threading.Barrier(2)

    def go(made: tuple[Store, Manifest]) -> Manifest:
        door = ObjectStore(client(address), BUCKET)
        barrier.wait(10)
        return door.publish(*made)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(go, homes)
    assert first == second and first in [manifest for _, manifest in homes]
    there = Store(tmp_path / "there")
    assert objects.fetch(there, "p", "model", KEY) == first
    # the loser has the winner's files by now
    assert contents(there) == contents(homes[0][0]) == contents(homes[1][0])
    assert objects.garbage() == {f"blobs/{e['sha256']}" for _, m in homes for e in m.files.values()} - {
        f"blobs/{e['sha256']}" for e in first.files.values()
    }


def test_of_two_that_let_something_count_the_later_one_refuses(objects: ObjectStore) -> None:
    pointers = [Pointer(letter * 16, letter * 64) for letter in "abc"]
    assert objects.current("p", "demo", "model") == (None, "")
    objects.set_current("p", "demo", "model", pointers[0], "")
    with pytest.raises(Superseded):
        objects.set_current("p", "demo", "model", pointers[1], "")
    found, version = objects.current("p", "demo", "model")
    assert found == pointers[0]
    objects.set_current("p", "demo", "model", pointers[1], version)
    with pytest.raises(Superseded, match="another run has made another `model` current"):
        objects.set_current("p", "demo", "model", pointers[2], version)
    assert objects.current("p", "demo", "model")[0] == pointers[1]


@pytest.mark.parametrize("damage", ["flipped", "gone", "manifest"])
def test_damage_is_named_and_nothing_comes_into_the_local_store(objects: ObjectStore, address: str, tmp_path: Path, damage: str) -> None:
    here, manifest = publish(tmp_path / "here")
    objects.publish(here, manifest)
    s3, name = client(address), f"blobs/{manifest.files['report.html']['sha256']}"
    if damage == "manifest":
        name = f"store/p/model/{KEY}/manifest.json"
    content = bytearray(s3.get_object(Bucket=BUCKET, Key=name)["Body"].read())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        s3.delete_object(Bucket=BUCKET, Key=name)
    else:
        s3.put_object(Bucket=BUCKET, Key=name, Body=bytes(content))
    there = Store(tmp_path / "there")
    with pytest.raises(Corrupt, match="seal|is not a manifest" if damage == "manifest" else "report.html.*Make model again"):
        objects.fetch(there, "p", "model", KEY)
    assert there.find("p", "model", KEY) is None and not there.folder("p", "model", KEY).exists()
