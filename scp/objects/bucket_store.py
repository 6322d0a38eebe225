"""An object store in a bucket of any kind (:mod:`scp.objects.bucket_kinds`), and its journal.

The key that an object is put under has a token (:func:`scp.objects.names.with_token`). Several nodes may
share the bucket, and two that store the same object at once must not put one key: each row names the digest
of its own file. So such a key is put once, on the condition that it is free, and only its own process takes
it back.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from scp.errors import ObjectChanged, ObjectDamaged, ObjectMissing, ObjectUnavailable, OutOfResources
from scp.objects import names
from scp.objects.bucket import AT_ONCE, LARGE, PART, Bucket, Found
from scp.objects.folders import ASIDE
from scp.objects.journal import Journaled
from scp.objects.store import check_size, ends_of_pieces
from scp.spool import IN_MEMORY, Buffer, Spool

_FETCHED_AT_ONCE = 4  # parts of one object
_BEHIND_DOTS = ".~"  # sorts behind all keys that begin with a dot and a letter


class ObjectsInBucket:
    """Objects in a bucket (:class:`scp.objects.store.ObjectStore`)."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def put(self, key: str, *parts: Buffer) -> None:
        """See ObjectStore. A key with a token is put once; a repeated request finds its own object.

        Raises ObjectChanged if there is another.
        """
        size = sum(map(len, parts))
        if not names.has_token(key):
            self.bucket.put(key, parts, size=size)
            return
        try:
            self.bucket.put(key, parts, size=size, only="new")
        except ObjectChanged:
            if not self._is(key, b"".join(parts)):
                raise

    def _is(self, key: str, data: bytes) -> bool:
        """Whether an object is what was put. Raises OutOfResources."""
        try:
            return bytes(self.get(key, len(data))) == data
        except (ObjectMissing, ObjectDamaged):
            return False
        except ObjectUnavailable as error:
            raise OutOfResources(str(error)) from error

    def get(self, key: str, size: int | None = None) -> Buffer:
        """See ObjectStore. A large object is fetched in parts, some at once. Raises ObjectUnavailable."""
        if size is not None and size > LARGE:
            return self._in_parts(key, size)

        def take(found: Found, pieces: Iterator[Buffer]) -> Buffer | None:
            check_size(key, found.size, size)
            if found.size > LARGE:
                return None  # it would have to come within the time of one request
            spool = Spool()
            for piece in pieces:
                spool.write(piece)
            check_size(key, spool.size, found.size)
            return spool.view() if found.size > IN_MEMORY else bytes(spool.view())

        data = self.bucket.get(key, take)
        return self._in_parts(key) if data is None else data

    def _in_parts(self, key: str, size: int | None = None) -> Buffer:
        found = self.bucket.look(key)
        check_size(key, found.size, size)
        size = found.size
        spool, ahead = Spool(), deque[Future[bytes]]()
        with ThreadPoolExecutor(_FETCHED_AT_ONCE, "fetch") as pool:
            for start in range(0, size, PART):
                ahead.append(pool.submit(self.bucket.part, found, start, min(start + PART, size)))
                if len(ahead) == _FETCHED_AT_ONCE:
                    spool.write(ahead.popleft().result())
            for part in ahead:
                spool.write(part.result())
        return spool.view()

    def pieces(self, key: str, size: int) -> Iterator[Buffer]:
        """See ObjectStore: a request for each, for the version of the first. Raises ObjectUnavailable."""
        found: Found | None = None
        for begin, end in ends_of_pieces(size):
            if found is None:
                found, piece = self.bucket.first_part(key, end)
                check_size(key, found.size, size)
            else:
                piece = self.bucket.part(found, begin, end)
            yield piece

    def size(self, key: str) -> int:
        """See ObjectStore. Raises ObjectUnavailable."""
        return self.bucket.look(key).size

    def delete(self, key: str) -> None:
        """See ObjectStore. Raises OutOfResources."""
        self.bucket.delete(key)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """See ObjectStore. Raises OutOfResources where the listing breaks off.

        A server lists what is below a folder; within that, the listing begins just before the prefix.
        """
        folder, _, name = prefix.rpartition("/")
        after = prefix[:-1] if len(name) > 1 else "" if prefix else _BEHIND_DOTS
        for found in self.bucket.list(folder, after):
            if found.key.startswith(prefix):
                if not found.key.startswith("."):
                    yield found.key
            elif name and found.key > prefix and found.key.rpartition("/")[0] == folder:
                return

    def close(self) -> None:
        """See ObjectStore. Does nothing."""


class BucketStore(Journaled):
    """A bucket with a journal of notes in ``root``, a folder of this node alone.

    Each node has its own journal: no other node takes a living one's entries for leftovers. If the disk of a
    node is gone for ever, objects that it had put and not recorded are in no index. They were not
    acknowledged, and nobody else has their keys: ``zscp fsck`` lists them, and can take them up.
    """

    at_once = AT_ONCE // 2  # a large one takes several requests

    def __init__(self, bucket: Bucket, root: Path) -> None:
        super().__init__(ObjectsInBucket(bucket), root)
        self.bucket = bucket

    def fresh_key(self, key: str) -> str:
        """See JournaledStore: with a token, as other nodes may put the same object."""
        return names.with_new_token(key)

    def put_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """See JournaledStore: some are put at once."""
        wanted = list(objects)
        keys = [key for key, _ in wanted]
        if len(set(keys)) < len(keys):
            super().put_many(wanted)
            return
        with ThreadPoolExecutor(min(AT_ONCE, len(wanted) or 1), "put") as pool:
            puts = [pool.submit(self.put, key, data) for key, data in wanted]
        faults = [fault for put in puts if (fault := put.exception()) is not None]
        if faults:
            for key, put in zip(keys, puts, strict=True):
                if put.exception() is None:
                    self.withdraw(key)
            raise faults[0]

    def set_aside(self, key: str) -> None:
        """See JournaledStore: in the bucket, below ``.damaged``. Raises OutOfResources."""
        with suppress(ObjectMissing):
            self.bucket.copy(key, f"{ASIDE}/{names.file_name(key)}.{uuid.uuid4().hex}")

    def _is_own(self, _key: str) -> bool:
        return names.has_token(_key)
