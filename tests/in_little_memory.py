"""A multi-frame object that is larger than the memory it may take: kept, proven, given out, compared.

python in_little_memory.py TRANSFER_SYNTAX MEGABYTES FOLDER prints what each step took, and last by how many
MB the process grew at most. It is a program of its own, as the peak of memory is one of a process.
"""

from __future__ import annotations

import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from objects import Shape, described, written

from scp.archive.encode import keep
from scp.config.rules import PolicyRule, Stage
from scp.encoding import pool
from scp.encoding.dataset import encoding_of
from scp.encoding.elements import element_header
from scp.encoding.facts import survey
from scp.encoding.streams import digest
from scp.encoding.transcode import transcoding
from scp.model import Received
from scp.objects import part10
from scp.spool import Spool, keep_in
from scp.syntaxes import lookup

SIDE = 1024


def peak() -> int:
    """Of resident memory, MB (Linux: VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def movie(transfer_syntax: str, megabytes: int) -> Received:
    """Frames of 2 MB, each other than the one before."""
    syntax, frames = lookup(transfer_syntax), megabytes // 2
    shape = Shape(rows=SIDE, columns=SIDE, frames=frames, bits_stored=12)
    spool = Spool(hashing=True)
    spool.write(written(described(shape, "1.2.3"), syntax.explicit_vr, syntax.little_endian))
    spool.write(element_header(0x7FE00010, b"OW", frames * SIDE * SIDE * 2, encoding_of(syntax)))
    noise = np.random.default_rng(1).integers(0, 16, (SIDE, SIDE + 64), dtype="u2")
    smooth = np.add.outer(np.arange(SIDE), np.arange(SIDE)).astype("u2")
    for each in range(frames):
        frame = smooth + each + noise[:, each % 64 : each % 64 + SIDE]
        spool.write(frame.astype("<u2" if syntax.little_endian else ">u2").tobytes())
    return Received(
        "1.2.840.10008.5.1.4.1.1.7", "1.2.3", transfer_syntax, spool.view(), "CT", "ZSCP", datetime.now(UTC),
        spool.sha256,
    )  # fmt: skip


def main(transfer_syntax: str, megabytes: str, folder: str) -> None:
    """See the module."""
    keep_in(Path(folder))
    list(pool.in_order(lambda _: np.zeros(1 << 20), range(4), 4, 1 << 20))
    object_ = movie(transfer_syntax, int(megabytes))
    before, started = peak(), time.process_time()
    facts = survey(object_)
    found = keep(object_, facts, PolicyRule(name="test", stages=(Stage(forms=("htj2k",)),)))
    assert found.encoded.form == "htj2k", found.provenance.attempts
    sys.stdout.write(f"kept {len(found.data)} of {len(object_.dataset)} bytes, peak {peak()} MB, ")
    sys.stdout.write(f"CPU {time.process_time() - started:.1f} s\n")
    file = part10.unpack(found.data)
    pieces = transcoding(file.dataset, file.transfer_syntax, transfer_syntax, file.provenance.restoration)
    assert digest(pieces) == object_.sha256
    sys.stdout.write(f"given out, peak {peak()} MB, CPU {time.process_time() - started:.1f} s, ")
    sys.stdout.write(f"ru_maxrss {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB\n")
    sys.stdout.write(f"{peak() - before}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
