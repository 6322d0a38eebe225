"""The kinds of buckets, by the scheme of their URL: what differs between the servers that obstore asks.

A kind gets a row when a server has shown in tests/contracts/test_stores.py that it keeps what zscp builds on:
above all that a key which is there is not put again where the put has that condition (docs/decisions/0202).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scp.config.stores import BucketPlace

_DENIED = ("401 Unauthorized", "403 Forbidden", "token request")
_NOT_REACHED = "error sending request"


@dataclass(frozen=True, slots=True)
class BucketKind:
    """How a kind of server is asked, and what it says.

    ``service`` is the class of obstore, ``extra`` the optional package of zscp that brings it; ``options``
    are what the class takes besides what all have. ``where`` and ``who`` name the keys of the configuration
    that say where the bucket is, and who asks. ``absent`` are texts of errors that mean that it is not there.

    ``copies``: an object is copied when the server says so. ``lists_after``: a listing may begin behind a
    key. ``etags_are_digests``: the same bytes have the same ETag, where nothing is encrypted.
    """

    service: str
    extra: str
    options: Callable[[BucketPlace], dict[str, Any]]
    where: str
    who: str
    absent: tuple[str, ...]
    copies: bool
    lists_after: bool
    etags_are_digests: bool

    def advice(self, error: str) -> str:
        """Which keys of the configuration to look at, by the text of an error; empty for most."""
        if any(told in error for told in _DENIED):
            return f"; look at {self.who} of this [[storage]]"
        return f"; look at {self.where}, and at the network" if _NOT_REACHED in error else ""


def _s3(place: BucketPlace) -> dict[str, Any]:
    options = {"region": place.region, "checksum_algorithm": "SHA256"}
    if place.endpoint:
        options["endpoint"] = place.endpoint
    if place.access_key:
        options |= {"access_key_id": place.access_key, "secret_access_key": place.secret_key}
    return options


def _azure(place: BucketPlace) -> dict[str, Any]:
    options = {"account_name": place.account}
    if place.endpoint:
        options["endpoint"] = place.endpoint
    if place.secret_key:  # whatever the environment says, too
        options |= {"account_key": place.secret_key, "credential_type": "access_key"}
    return options


KINDS: Mapping[str, BucketKind] = {
    "s3": BucketKind(
        service="S3Store",
        extra="s3",
        options=_s3,
        where="url and endpoint",
        who="access_key and secret_key",
        absent=("NoSuchBucket",),
        copies=True,
        lists_after=True,
        etags_are_digests=True,
    ),
    "az": BucketKind(
        service="AzureStore",
        extra="azure",
        options=_azure,
        where="url, account and endpoint",
        who="account and secret_key",
        # Of a blob alone it says BlobNotFound. Of one in a batch that deletes, it says the sentence alone.
        absent=("ContainerNotFound", "ResourceNotFound", "The specified container does not exist"),
        # "Copy Blob" may go on behind its answer, and obstore does not tell whether it does: the original
        # would be removed while it is still being read.
        copies=False,
        # By the parameter startFrom, which is new, and which the emulator ignores.
        lists_after=False,
        etags_are_digests=False,
    ),
}


def kind_of(place: BucketPlace) -> BucketKind:
    """The kind of the bucket at a place."""
    return KINDS[place.scheme]
