"""The keys of the object store: all of them are made and parsed here.

Below the first store, and below each other store under ``@<store>/`` (docs/format.md):

    3f/a2/<study>/<instance>_<digest>.<form>.dcm[.zst]     a stored object
    .landing/<process>/<serial>/<offset>-<size>.dcm        a record of the landing log; the process's name
                                                           begins with the id of its node
    dictionaries/<SOP class>/<version>-<id>-<digest>.zdict a zstd dictionary, and ``newest`` beside it

Everything else that begins with a dot (the journal, the trash, what was set aside) has no key.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scp.errors import ObjectMissing

LANDING = ".landing"
DICTIONARIES = "dictionaries"
COPY = ".copy"  # a dictionary's name with it
_NEWEST = "newest"
_SEPARATOR = "!"  # stands for / where a key becomes the name of one file; no key holds it

_KEY = re.compile(r"@?[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+")
_LANDED = re.compile(rf"{re.escape(LANDING)}/([\w-]+)/(\d+)/(\d+)-(\d+)\.dcm")
_DICTIONARY = re.compile(rf"{DICTIONARIES}/([\w.]+)/(\d+)-(\d+)-([0-9a-f]{{16}})\.zdict")
_OBJECT = re.compile(r"(.+_[0-9a-f]{16}\.[a-z0-9-]+?)(-[0-9a-f]{8})?(\.dcm(?:\.zst)?)")
_PLAIN_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_within(key: object) -> bool:
    """Whether ``key`` is a valid key, which cannot lead outside its store."""
    return isinstance(key, str) and _KEY.fullmatch(key) is not None and ".." not in key.split("/")


def file_name(key: str) -> str:
    """A key as the name of one file, as the journal and ``.damaged`` use it."""
    return key.replace("/", _SEPARATOR)


def key_in(name: str) -> str:
    """The key in a name that :func:`file_name` made."""
    return name.replace(_SEPARATOR, "/")


# -- stores --------------------------------------------------------------------------------------------


def store_of(key: str) -> str:
    """The name of the store that an object is in; empty for the first."""
    return key[1:].partition("/")[0] if key.startswith("@") else ""


def in_store(store: str, key: str) -> str:
    """The key of the same object in another store; ``store`` is empty for the first.

    For an empty ``key`` it is the prefix of all keys in that store.
    """
    own = key.partition("/")[2] if key.startswith("@") else key
    return f"@{store}/{own}" if store else own


def prefixes(stores: Iterable[str]) -> Mapping[str, str]:
    """The prefix of the keys in each store → the name of the store."""
    return {in_store(name, ""): name for name in stores}


# -- objects -------------------------------------------------------------------------------------------


def object_key(
    study: str, instance: str, sha256: str, form: str, wrapped: bool = False, token: str = ""
) -> str:
    """The key of a SOP instance: ``3f/a2/<study>/<instance>_<digest>.<form>[-<token>].dcm[.zst]``.

    Two levels of 256 folders, chosen by the study, hold the studies: with 100 million objects in a million
    studies that is 15 studies in each. By the digest of what was received, the same object sent twice has one
    file, and other content has another file; a ``token`` gives the same form another file. A UID that is no
    valid one becomes its SHA-256.
    """
    fan = hashlib.sha256(study.encode()).hexdigest()
    form = f"{form}-{token}" if token else form
    name = f"{path_component(instance)}_{sha256[:16]}.{form}.dcm{'.zst' if wrapped else ''}"
    return f"{fan[:2]}/{fan[2:4]}/{path_component(study)}/{name}"


def with_token(key: str, token: str) -> str:
    """The key of another file of the same object in the same form. Raises ValueError for other keys."""
    found = _OBJECT.fullmatch(key)
    if found is None:
        raise ValueError(f"{key} is no key of an object")
    return f"{found[1]}-{token}{found[3]}"


def with_new_token(key: str) -> str:
    """As :func:`with_token`, with one that no other key has; ``key`` itself if it is no object's."""
    return with_token(key, secrets.token_hex(4)) if _OBJECT.fullmatch(key) else key


def has_token(key: str) -> bool:
    """Whether the key of an object has a token: then nobody else puts it."""
    found = _OBJECT.fullmatch(key)
    return found is not None and found[2] is not None


def is_object(key: str) -> bool:
    """Whether a key is that of a stored object: not of a dictionary, and not one that begins with a dot."""
    own = in_store("", key)
    return not (is_dictionary(own) or own.startswith("."))


def siblings_prefix(key: str, instance: str) -> str:
    """The prefix of the keys of all stored forms of an instance in the study of ``key``."""
    return f"{key.rpartition('/')[0]}/{path_component(instance)}_"


def instance_in(key: str) -> str:
    """The SOP Instance UID in a key; empty if the key has none."""
    name = key.rpartition("/")[2].partition("_")[0]
    return name if _PLAIN_UID.fullmatch(name) else ""


def digest_in(key: str) -> str:
    """The first hexadecimal digits of the SHA-256 of what was received, from a key."""
    return key.rpartition("/")[2].partition("_")[2].partition(".")[0]


def path_component(uid: str) -> str:
    """A UID as the name of a file or folder; a text that is no valid UID becomes its SHA-256."""
    if _PLAIN_UID.fullmatch(uid) and len(uid) <= 64:
        return uid
    return "none" if not uid else "x" + hashlib.sha256(uid.encode()).hexdigest()[:40]


# -- the landing log -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LandedName:
    """The parts of a landed key: the process's folder, the segment's serial, and the file in it, in bytes."""

    process: str
    serial: str
    at: int
    size: int


def is_landed(key: str) -> bool:
    """Whether a key names a record of a landing log."""
    return key.startswith(LANDING + "/")


def has_own_file(key: str) -> bool:
    """Whether a key names a file of the object alone; others lie where they stay for a while only."""
    return not is_landed(key)


def segment_name(process: str, serial: str) -> str:
    """The prefix of the keys of all records in a segment of the landing log, up to the last slash."""
    return f"{LANDING}/{process}/{serial}"


def segment_of(key: str) -> str:
    """The segment of a landed key, as :func:`segment_name` gives it."""
    return key.rpartition("/")[0]


def landed_key(segment: str, at: int, size: int) -> str:
    """The key of a file of ``size`` bytes that begins at ``at`` in a segment of the landing log."""
    return f"{segment}/{at}-{size}.dcm"


def nodes_prefix(node: str) -> str:
    """The prefix of the keys of all records in the landing log of a node."""
    return f"{LANDING}/{node}-"


def node_of(key: str) -> str:
    """The id of the node whose landing log has a record; empty for other keys, and those of old versions."""
    process = key.split("/", 2)[1] if is_landed(key) else ""
    return process.partition("-")[0] if process.count("-") == 2 else ""


def landed_name(key: str) -> LandedName:
    """The parts of a landed key. Raises ObjectMissing if it is none."""
    found = _LANDED.fullmatch(key)
    if found is None:
        raise ObjectMissing(f"{key} is no key of the landing log")
    return LandedName(found[1], found[2], int(found[3]), int(found[4]))


# -- dictionaries --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DictionaryName:
    """A dictionary by its key. ``sop_class_uid`` is the folder's name, ``version`` counts from 1."""

    key: str
    sop_class_uid: str
    version: int
    id: int
    digest: str


def is_dictionary(key: str) -> bool:
    """Whether a key of the object store names a dictionary, or the mark of the newest one."""
    return key.startswith(DICTIONARIES + "/")


def dictionaries_prefix(sop_class_uid: str | None = None) -> str:
    """The prefix of the keys of all dictionaries, or of those of a SOP class."""
    everywhere = f"{DICTIONARIES}/"
    return everywhere if sop_class_uid is None else f"{everywhere}{path_component(sop_class_uid)}/"


def dictionary_key(sop_class_uid: str, version: int, number: int, digest: str) -> str:
    """The key of a dictionary; ``number`` is the ID by which frames name it."""
    return f"{dictionaries_prefix(sop_class_uid)}{version:04}-{number}-{digest[:16]}.zdict"


def copy_key(dictionary: str) -> str:
    """The key of the copy that lies beside a dictionary."""
    return f"{dictionary}{COPY}"


def newest_key(sop_class_uid: str) -> str:
    """The key of the mark that names the dictionary for new objects of a class."""
    return dictionaries_prefix(sop_class_uid) + _NEWEST


def dictionary_name(key: str) -> DictionaryName | None:
    """The parts of a dictionary's key; None if ``key`` is no such key."""
    found = _DICTIONARY.fullmatch(key)
    return (
        DictionaryName(key, found[1], int(found[2]), int(found[3]), found[4]) if found is not None else None
    )
