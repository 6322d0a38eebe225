"""A bucket without a server: obstore's own store in memory answers its requests.

Its ETags are numbers, and no digests of the data. Conditions of a put are kept for new objects only.
"""

from __future__ import annotations

import pytest

from scp.config.stores import BucketPlace
from scp.objects import bucket as bucket_module
from scp.objects.bucket import Bucket

PLACE = BucketPlace("bucket", "zscp", "", "us-east-1", "key", "a-secret")


def bucket_in_memory(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket; the test is skipped where obstore is not installed."""
    obstore = pytest.importorskip("obstore")
    opened = bucket_module._Opened(obstore, obstore.store.MemoryStore())
    monkeypatch.setattr(bucket_module, "_open", lambda place, seconds: opened)
    return Bucket(PLACE)
