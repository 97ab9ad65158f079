"""The store in an object store: a try of the form that docs/growth.md describes.

    blobs/<sha256>                                a file, named by its content
    store/<paper>/<asset>/<key>/manifest.json     put last, and only if absent: the act of publishing
    current/<paper>/<partition>/<asset>.json      what counts now, put only over the version that was read

Reading fills the local store, where everything goes on as ever.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from tenfold.core import atomic
from tenfold.core.errors import Corrupt, Superseded
from tenfold.core.store import MANIFEST, Manifest, Pointer, Store, superseded


class ObjectStore:
    """Publishes outputs of a local store into a bucket, and fetches them into another one.

    `client` is an S3 client whose `put_object` knows `IfNoneMatch` and `IfMatch`.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def publish(self, store: Store, manifest: Manifest) -> Manifest:
        """Upload a published output; the manifest that counts: this one, or that of whoever was first."""
        folder = store.folder(manifest.paper, manifest.asset, manifest.key)
        for name, entry in manifest.files.items():
            self._put_new(f"blobs/{entry['sha256']}", (folder / name).read_bytes())
        first = self._put_new(self._key(manifest.paper, manifest.asset, manifest.key), (folder / MANIFEST).read_bytes())
        return manifest if first else self.fetch(store, manifest.paper, manifest.asset, manifest.key, anew=True) or manifest

    def fetch(self, store: Store, paper: str, asset: str, key: str, anew: bool = False) -> Manifest | None:
        """Bring an output into the local store, every file checked; None if it was never published.

        `anew`: in place of what stands there. Raises Corrupt for an object that is not what was written.
        """
        folder = store.folder(paper, asset, key)
        if not anew and (found := store.find(paper, asset, key)) is not None:
            return found
        content = self._get(self._key(paper, asset, key))
        if content is None:
            return None
        with atomic.new_folder(folder) as temporary:
            (temporary / MANIFEST).write_bytes(content)
            for name, entry in Manifest.read(temporary / MANIFEST).files.items():
                data = self._get(f"blobs/{entry['sha256']}")
                if data is None or hashlib.sha256(data).hexdigest() != entry["sha256"]:
                    raise Corrupt(
                        f"object blobs/{entry['sha256']} ({paper}/{asset} {key}: {name}) is missing or damaged. Make {asset} again."
                    )
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return store.find(paper, asset, key)

    def current(self, paper: str, partition: str, asset: str) -> tuple[Pointer | None, str]:
        """What counts now, and the version of that answer."""
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=f"current/{paper}/{partition}/{asset}.json")
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None, ""
            raise
        return Pointer(**json.loads(found["Body"].read())), found["ETag"]

    def set_current(self, paper: str, partition: str, asset: str, pointer: Pointer, version: str) -> None:
        """Let an output count if nothing else has counted since `version`. Raises Superseded otherwise."""
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        content = json.dumps(vars(pointer), sort_keys=True).encode()
        if not self._put(f"current/{paper}/{partition}/{asset}.json", content, condition):
            raise Superseded(superseded(paper, partition, asset))

    def garbage(self) -> set[str]:
        """Blobs that no manifest names: of uploads that were cut off, are in progress, or whose manifest was deleted."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket)
        names = [each["Key"] for page in pages for each in page.get("Contents", ())]
        manifests = [json.loads(self._get(name) or b"{}") for name in names if name.endswith(f"/{MANIFEST}")]
        used = {f"blobs/{entry['sha256']}" for manifest in manifests for entry in manifest["files"].values()}
        return {name for name in names if name.startswith("blobs/")} - used

    @staticmethod
    def _key(paper: str, asset: str, key: str) -> str:
        return f"store/{paper}/{asset}/{key}/{MANIFEST}"

    def _get(self, name: str) -> bytes | None:
        try:
            return bytes(self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise

    def _put_new(self, name: str, content: bytes) -> bool:
        return self._put(name, content, {"IfNoneMatch": "*"})

    def _put(self, name: str, content: bytes, condition: Mapping[str, str]) -> bool:
        """False if the condition does not hold. The server compares the sha256 with what arrives."""
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        try:
            self._client.put_object(Bucket=self._bucket, Key=name, Body=content, ChecksumSHA256=checksum, **condition)
        except ClientError as error:
            # 409: another put of this name was in flight
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise
        return True
