"""What is retrieved on the wire, once more with the objects in a bucket of a real S3 server.

Here what reads a stored object in each of its ways; the rest does not differ by the store, and is in
``make long`` (test_all_on_bucket.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers_seaweedfs import SeaweedFS

from .configured import elsewhere
from .test_retrieve import (
    test_big_endian_and_deflated_are_ways_out,
    test_counts_of_a_get,
    test_counts_of_a_move,
    test_recompressed_jpeg_goes_out_as_it_came,
    test_several_requests_over_one_association,
)

__all__ = [
    "test_big_endian_and_deflated_are_ways_out",
    "test_counts_of_a_get",
    "test_counts_of_a_move",
    "test_recompressed_jpeg_goes_out_as_it_came",
    "test_several_requests_over_one_association",
]
pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def _in_a_bucket(seaweedfs: SeaweedFS) -> Iterator[None]:
    token = elsewhere.set(seaweedfs.storage)
    yield
    elsewhere.reset(token)
