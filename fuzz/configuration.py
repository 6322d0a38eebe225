"""A configuration of any content: settings come of it, or an error that names file and key."""

from __future__ import annotations

import json
import re
import tempfile
from functools import cache
from pathlib import Path

from scp.config.exposure import exposures
from scp.config.load import load, warnings
from scp.errors import ConfigurationError

# A fault of a file as a whole names no key, but where in the file it is.
_WHOLE = re.compile(r" is not UTF-8 at byte \d+| is not valid TOML: ")
# A key's path or a variable's name; keys of a table that admins name themselves may hold anything.
_FAULT = re.compile(r"\S.*: \S", re.DOTALL)


@cache
def _file() -> Path:
    """A file in memory, where the machine has such a folder."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    return folder / "zscp.toml"


def configuration(data: bytes) -> None:
    """A file, and behind NULs what follows ZSCP_ in the environment: ``NODE__PORT=1``."""
    content, *variables = data.split(b"\0")
    path = _file()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    names = (one.decode("utf-8", "surrogateescape").partition("=") for one in variables)
    environ = {f"ZSCP_{name}": value for name, _, value in names}
    try:
        settings = load(path, environ)
    except ConfigurationError as error:
        _check(str(error), path)
    else:
        warnings(settings)
        exposures(settings)
        json.dumps(settings.model_dump(mode="json"), allow_nan=False)
    finally:
        path.unlink()
        path.parent.rmdir()


def _check(told: str, path: Path) -> None:
    if not told.startswith(str(path)):
        raise AssertionError(f"names no file: {told}")
    if _WHOLE.match(told.removeprefix(str(path))):
        return
    head, *faults = re.split(r"\n  (?=\S)", told)
    if not head.endswith(":") or not faults or not _FAULT.match(faults[0]):
        raise AssertionError(f"names no key: {told}")
