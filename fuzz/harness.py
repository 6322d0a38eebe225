"""One target under libFuzzer: ``python -m fuzz.harness TARGET [corpus folder or file ...] [-options]``.

Options are libFuzzer's. Called with files, it runs each once: that is how a finding is replayed. Without
atheris ``python -m fuzz.replay TARGET FILE`` does the same.
"""

from __future__ import annotations

import logging
import random
import sys

import atheris

# Whatever imports scp first must do it in here, or nothing of it is seen.
with atheris.instrument_imports(include=["scp"], enable_loader_override=False):
    from fuzz import structure
    from fuzz.targets import TARGETS


_BYTES = 0.3  # the share of mutants that are changed as any bytes are


def mutant(data: bytes, max_size: int, seed: int) -> bytes:
    """libFuzzer's custom mutator for codestreams."""
    draw = random.Random(seed)
    if draw.random() > _BYTES:
        found = structure.changed(bytes(data), draw)[:max_size]
        if found != data:
            return found
    return bytes(atheris.Mutate(data, max_size))


def main(arguments: list[str]) -> None:
    """See the module."""
    name, *options = arguments
    target = TARGETS[name]
    logging.disable(logging.CRITICAL)  # pydicom warns of what is odd in each input
    mutate = {"custom_mutator": mutant} if target.codestreams else {}
    atheris.Setup([sys.argv[0], *options], target.check, **mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
