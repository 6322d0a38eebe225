"""The stores of the configuration: ``[storage]``, where objects come in, and each other ``[[storage]]``.

A store is a folder, or a bucket: ``s3://<bucket>/<prefix>`` of an S3-compatible object store, or
``az://<container>/<prefix>`` of Azure Blob Storage. A container is called a bucket here, too.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, SecretStr

from scp.config.keys import check_keys
from scp.config.values import (
    Bytes,
    Part,
    Seconds,
    Span,
    Switch,
    Table,
)
from scp.errors import ConfigurationError

EncryptionKeys = Annotated[tuple[str, ...], AfterValidator(check_keys)]
_NO_SECRET = SecretStr("")


@dataclass(frozen=True, slots=True)
class _Scheme:
    """What the servers of a kind allow as the name of a bucket, and that in words."""

    name: re.Pattern[str]
    allowed: str


_BUCKETS: Mapping[str, _Scheme] = {
    "s3": _Scheme(re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"), "of letters, digits, dots, dashes"),
    "az": _Scheme(
        re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*"),
        "the container of small letters, digits and single dashes",
    ),
}
_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)*/?")
# The keys that say how a bucket is reached, and mean nothing to a folder.
_OF_BUCKETS = ("endpoint", "access_key", "account", "secret_key", "secret_key_file")
# What obstore reaches, and zscp does not take yet, and why (docs/decisions/0202).
_NOT_SUPPORTED = {
    "gs": "no server of Google Cloud Storage was at hand to show that it refuses to put a key twice, without"
    " which acknowledged objects could be lost"
}


def storage_url(text: str) -> str:
    """Where objects lie: ``file:///absolute``, ``file://relative``, a plain path, or a bucket's URL."""
    scheme, separator, path = text.partition("://")
    if separator and scheme in _BUCKETS:
        bucket, slash, prefix = path.partition("/")
        kind = _BUCKETS[scheme]
        if not kind.name.fullmatch(bucket) or not _PREFIX.fullmatch(slash + prefix) or ".." in path:
            raise ValueError(
                f'"{text}" names no bucket; write "{scheme}://<bucket>/<prefix>", {kind.allowed}'
            )
    elif separator and scheme in _NOT_SUPPORTED:
        raise ValueError(
            f'{scheme}:// is not supported: {_NOT_SUPPORTED[scheme]}; use "s3://", "az://" or a folder'
        )
    elif separator and scheme != "file":
        raise ValueError(
            f'{scheme}:// is not known; use "file:///absolute", "file://relative", a path, "s3://bucket/prefix"'
            ' or "az://container/prefix"'
        )
    elif not (path if separator else text).strip():
        raise ValueError(f'"{text}" names no folder; write, say, "file:///var/lib/zscp/objects"')
    return text


def folder_url(text: str) -> str:
    """A folder, as ``file:///absolute``, ``file://relative`` or a plain path; empty: none."""
    scheme, separator, _ = text.partition("://")
    if separator and scheme != "file":
        raise ValueError(f'{scheme}:// is no folder; write, say, "file:///var/lib/zscp/spool"')
    return storage_url(text) if text else text


def endpoint(text: str) -> str:
    """The URL of an object store's server; empty: that of AWS, or of the Azure account."""
    if text and not re.fullmatch(r"https?://[^/\s@?#]+(/[A-Za-z0-9-]+)?/?", text):
        raise ValueError(f'"{text}" is not the URL of a server; write, say, "https://s3.example.org:8333"')
    return text.rstrip("/")


def secret(value: object) -> object:
    """A secret; what is wrong with it is told without it."""
    if not isinstance(value, (str, SecretStr)):
        raise ValueError("must be text in quotes")
    return value


def store_name(text: str) -> str:
    """What stages call a store: it begins the keys of what lies in it."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", text):
        raise ValueError(
            f'"{text}" is not a name for a store; write lower-case letters, digits and dashes, say "cold"'
        )
    return text


Endpoint = Annotated[str, AfterValidator(endpoint)]
FolderUrl = Annotated[str, AfterValidator(folder_url)]
Secret = Annotated[SecretStr, BeforeValidator(secret)]
StorageUrl = Annotated[str, AfterValidator(storage_url)]
StoreName = Annotated[str, AfterValidator(store_name)]


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """Where a bucket is, and who asks: without a secret key, by what the machine's environment says.

    Objects lie below ``prefix``, which may be empty. An empty ``endpoint`` is that of AWS, or of ``account``,
    a storage account of Azure. ``access_key`` and ``region`` are for S3 alone, ``account`` for Azure.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    scheme: str = "s3"
    account: str = ""

    @property
    def name(self) -> str:
        """The bucket and the prefix, for people."""
        return f"{self.scheme}://{self.bucket}{'/' * bool(self.prefix)}{self.prefix}"


class StoreSettings(Table):
    """What all stores have. The first of ``encryption_keys`` encrypts new files.

    ``endpoint`` and what follows it is for buckets alone.
    """

    name: StoreName
    url: StorageUrl
    reserve: Bytes = 10**9
    encryption_keys: EncryptionKeys = ()
    endpoint: Endpoint = ""
    region: str = "us-east-1"
    access_key: str = ""
    account: str = ""
    secret_key: Secret = _NO_SECRET
    secret_key_file: str = ""

    @property
    def in_bucket(self) -> bool:
        """Whether the objects lie in a bucket."""
        return self._scheme in _BUCKETS

    @property
    def bucket(self) -> BucketPlace | None:
        """The bucket; None for a folder. Raises ConfigurationError if the secret key cannot be read."""
        if not self.in_bucket:
            return None
        bucket, _, prefix = self.url.partition("://")[2].partition("/")
        reached = (self.endpoint, self.region, self.access_key, self._secret(), self._scheme, self.account)
        return BucketPlace(bucket, prefix.strip("/"), *reached)

    @property
    def _scheme(self) -> str:
        scheme, separator, _ = self.url.partition("://")
        return scheme if separator else "file"

    @property
    def where(self) -> str:
        """Where the objects lie, for people."""
        return self.url if self.in_bucket else str(Path(_folder(self.url)).absolute())

    def overlaps(self, other: StoreSettings) -> bool:
        """Whether both are buckets, and the objects of one lie below those of the other."""
        if not (self.in_bucket and other.in_bucket):
            return False
        if (self.endpoint, self.account) != (other.endpoint, other.account):
            return False
        mine, theirs = (one.url.rstrip("/") + "/" for one in (self, other))
        return mine.startswith(theirs) or theirs.startswith(mine)

    def _secret(self) -> str:
        secret = self._read() if self.secret_key_file else self.secret_key.get_secret_value()
        if self._scheme == "az":
            try:
                b64decode(secret, validate=True)
            except (binascii.Error, ValueError):
                raise ConfigurationError(
                    f"storage.secret_key{'_file' * bool(self.secret_key_file)}: is no account key of Azure,"
                    " which is text in base64; copy one of the two that the storage account shows"
                ) from None
        return secret

    def _read(self) -> str:
        try:
            return Path(self.secret_key_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"storage.secret_key_file: {self.secret_key_file} cannot be read ({error}); name a text file"
                " that holds the secret key alone"
            ) from error

    def faults(self) -> Iterator[tuple[str, str]]:
        """What does not fit together, as a key and what is wrong with it."""
        if not self.in_bucket:
            for key in _OF_BUCKETS:
                if getattr(self, key) not in ("", _NO_SECRET):
                    yield key, 'is for a bucket; write url = "s3://<bucket>/<prefix>", or leave it out'
            return
        secrets = bool(self.secret_key.get_secret_value()) + bool(self.secret_key_file)
        if secrets > 1:
            yield "secret_key_file", "stands beside secret_key; leave one of them out"
        yield from self._of_azure() if self._scheme == "az" else self._of_s3(bool(secrets))
        if self.encryption_keys:
            yield (
                "encryption_keys",
                "are for folders; let the bucket encrypt (SSE-S3 or SSE-KMS, set as the bucket's default"
                " encryption; Azure does so always), and leave this out",
            )

    def _of_s3(self, has_secret: bool) -> Iterator[tuple[str, str]]:
        if self.account:
            yield "account", "is for az://; s3:// has access_key"
        if bool(self.access_key) != has_secret:
            yield "access_key", "goes with secret_key or secret_key_file; set both, or neither"
        if "/" in self.endpoint.partition("://")[2]:
            yield "endpoint", 'has a path, which is for az://; write, say, "https://s3.example.org:8333"'

    def _of_azure(self) -> Iterator[tuple[str, str]]:
        if not re.fullmatch(r"[a-z0-9]{3,24}", self.account):
            yield "account", "is needed with az://: the storage account, 3 to 24 small letters and digits"
        if self.access_key:
            yield "access_key", "is for s3://; az:// has account, and its key as secret_key"


class StorageSettings(StoreSettings):
    """Where objects come in; ``reserve`` is the disk space in bytes that stays free.

    ``backlog`` is how many bytes may be pending, to be encoded after the response; 0: none. With ``landing``
    small ones of these go to the landing log first, else to the store. ``name`` is what
    stages call this store, where there are several. ``spool`` is the node's own folder where a bucket is the
    store: for the landing log and temporary files.
    """

    name: StoreName = "first"
    url: StorageUrl = "file://zscp-data/objects"
    spool: FolderUrl = ""
    duplicates: Literal["replace", "keep", "reject"] = "replace"
    incomplete: Literal["keep", "reject"] = "keep"
    unreadable: Literal["keep", "reject"] = "keep"
    backlog: Bytes = 2 * 10**9
    landing: Switch = True
    trash: Span = 30 * 86_400
    originals: Span = 90 * 86_400
    high_watermark: Part = None
    low_watermark: Part = None

    @property
    def path(self) -> Path:
        """The node's own folder: of the objects, or the spool; a relative one counts from where zscp runs."""
        return Path(_folder(self.spool if self.in_bucket else self.url))

    @property
    def promise(self) -> str:
        """What Success says of an object, in words for an admin."""
        if not self.in_bucket:
            return "durable in the store's folder before Success"
        if self.backlog and self.landing:
            return "durable on one disk until uploaded; large objects durable in the bucket before Success"
        return "durable in the bucket before Success"

    def faults(self) -> Iterator[tuple[str, str]]:
        """See StoreSettings."""
        yield from super().faults()
        if self.in_bucket and not self.spool:
            yield "spool", 'is needed with a bucket; write, say, "file:///var/lib/zscp/spool"'
        if not self.in_bucket and self.spool:
            yield "spool", "is for a bucket; objects in a folder need none, so leave it out"
        if self.in_bucket and self.high_watermark is not None:
            yield (
                "high_watermark",
                'needs a disk, and a bucket has no size; [[retention]] may delete "always"',
            )


class TierSettings(StoreSettings):
    """Another store, which stages name: every [[storage]] but the first.

    ``availability`` is Instance Availability (PS3.3 C.4.23.1.1). A retrieve from
    a store that is not online fails when that has given nothing for ``fetch_seconds``.
    """

    availability: Literal["online", "nearline", "offline"] = "online"
    fetch_seconds: Seconds = 60.0

    def folder(self, first: Path) -> Path:
        """The folder of the objects; of a bucket, this node's own, below that of the first store."""
        return first / ".stores" / self.name if self.in_bucket else Path(_folder(self.url))


def _folder(url: str) -> str:
    return url.removeprefix("file://")
