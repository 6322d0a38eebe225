"""All that is retrieved on the wire, once more with the objects in a bucket of a real S3 server."""

from __future__ import annotations

import pytest

from . import test_retrieve
from .test_on_bucket import _in_a_bucket

# These damage files in the folder of the store.
_OF_FOLDERS = ("test_some_fail", "test_a_changed_pixel_is_never_served")

__all__ = ["_in_a_bucket"]
pytestmark = [pytest.mark.cluster, pytest.mark.long]
globals().update(
    {name: value for name, value in vars(test_retrieve).items() if name.startswith("test_")}
    | dict.fromkeys(_OF_FOLDERS)
)
