"""What is retrieved on the wire, once more with the objects in a bucket of a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers_seaweedfs import SeaweedFS

from . import test_retrieve
from .configured import elsewhere

# These damage files in the folder of the store.
_OF_FOLDERS = ("test_some_fail", "test_a_changed_pixel_is_never_served")

pytestmark = pytest.mark.cluster
globals().update(
    {name: value for name, value in vars(test_retrieve).items() if name.startswith("test_")}
    | dict.fromkeys(_OF_FOLDERS)
)


@pytest.fixture(scope="module", autouse=True)
def _in_a_bucket(seaweedfs: SeaweedFS) -> Iterator[None]:
    token = elsewhere.set(seaweedfs.storage)
    yield
    elsewhere.reset(token)
