"""Check stored objects against what was written and, deep, against what was received; repair what can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import structlog

from scp.archive.archive import Archive
from scp.archive.repair import repair_from
from scp.background.parallel import each
from scp.errors import ObjectDamaged, ObjectMissing, ZscpError, message_of
from scp.lifecycle.scrub import note
from scp.lifecycle.transfer import received_file
from scp.model import Instance

_NOTED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Verified:
    """One checked object; an empty ``fault`` means that it is sound. ``away``: it could not be looked at.

    ``remark`` is why its codestream, which is kept as it came, is not decoded.
    """

    instance: Instance
    fault: str = ""
    away: bool = False
    remark: str = ""


def verify(archive: Archive, instances: Iterable[Instance], deep: bool = False) -> Iterator[Verified]:
    """Check each instance (invariants 1 and 2), and record the result."""

    def one(instance: Instance) -> Verified:
        try:
            return Verified(instance, remark=archive.verify(instance, deep))
        except (ObjectMissing, ObjectDamaged) as error:
            return Verified(instance, str(error))
        except Exception as error:  # noqa: BLE001 - told; the others are checked all the same
            return Verified(instance, message_of(error), away=True)

    verdicts = each(one, instances, archive.files.at_once)
    while some := list(islice(verdicts, _NOTED_AT_ONCE)):
        note(archive, [(verdict.instance, verdict.fault) for verdict in some if not verdict.away])
        yield from some


def repair_from_files(archive: Archive, files: Iterable[Path], aet: str) -> Iterator[tuple[Path, bool]]:
    """Repair damaged objects from files that hold what was received; others are left as they are."""

    def one(path: Path) -> tuple[Path, bool]:
        try:
            return path, repair_from(archive, received_file(archive, path, aet))
        except (ObjectDamaged, OSError):  # no DICOM file, or none that can be read
            return path, False
        except ZscpError:
            raise
        except Exception as error:  # noqa: BLE001 - the others repair what they can
            structlog.get_logger("zscp").error("repairs nothing", path=str(path), exc_info=error)
            return path, False

    return each(one, files)
