"""Run inputs through a target, without a fuzzer: ``python -m fuzz.replay TARGET FILE ...``."""

from __future__ import annotations

import faulthandler
import sys
from pathlib import Path

from fuzz.targets import TARGETS


def main(arguments: list[str]) -> None:
    """See the module."""
    name, *files = arguments
    faulthandler.enable()
    for file in map(Path, files):
        TARGETS[name].check(file.read_bytes())
        print(f"{file}: nothing is wrong")


if __name__ == "__main__":
    main(sys.argv[1:])
