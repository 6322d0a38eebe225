"""Where the configuration comes from, file and environment, and how its faults are reported."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from scp.config.values import nearest
from scp.errors import ConfigurationError

Tables = dict[str, Any]
PREFIX = "ZSCP_"
# What the [[storage]] behind the first one are called once read: no key of a file.
OTHER_STORES = "storage[1:]"

# Kubernetes and Docker describe a service that is called "zscp" in variables of these names.
_SERVICE_LINK = re.compile(r"ZSCP_(\w+_)?(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP))\w*")
_WORDING = {
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "missing": "is required",
    "model_type": "must be a table",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list",
}


def read_text(path: Path) -> str:
    """The text of the file at ``path``; ConfigurationError when it cannot be read.

    Without the mark that editors of Windows put before it (U+FEFF), which TOML does not know.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        remedy = "name another file, or none for the defaults"
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}; {remedy}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error


def tables_of(text: str) -> Tables:
    """The tables of a TOML text. Raises ValueError, which says what is wrong and where."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{error}{_line(text, str(error))}") from error
    except ValueError as error:  # Python reads no number of more digits than this
        raise ValueError(f"a number has over {sys.get_int_max_str_digits()} digits") from error
    except RecursionError as error:
        raise ValueError("lists or tables nest too deep") from error


def first_and_others(tables: Tables) -> Tables:
    """``tables`` where several [[storage]] are one that objects come in to, and others."""
    stores = tables.get("storage")
    if not isinstance(stores, list) or not stores:
        return tables
    return {**tables, "storage": stores[0], OTHER_STORES: tuple(stores[1:])}


def _line(text: str, message: str) -> str:
    """The line of ``text`` that tomllib's message points at, to be shown below it."""
    number = line_told(message)
    line = text.split("\n")[number - 1].strip() if number else ""
    return f"\n  {line}" if line and "password" not in line else ""


def line_told(message: str) -> int:
    """The line that a message of tomllib names; 0 where it names none."""
    place = re.search(r"at line (\d+)", message)
    return int(place[1]) if place else 0


def override(
    tables: Tables, environ: Mapping[str, str], root: type[BaseModel]
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Put the environment's values into ``tables``.

    Returns which variable each key path came from, and the faults found, each with its variable.
    """
    origins: dict[str, str] = {}
    faults: list[tuple[str, str]] = []
    known = _variables(root)
    for name in sorted(name for name in environ if _is_ours(name, environ[name])):
        if name not in known:
            shown = name.encode("utf-8", "backslashreplace").decode()
            faults.append((shown, _why_unknown(name, known, root)))
            continue
        if not _is_text(environ[name]):
            faults.append((name, "its value is not UTF-8; write it as UTF-8"))
            continue
        section, key, field = known[name]
        table = tables.setdefault(section, {})
        if isinstance(table, dict):  # else the file is at fault, and validation says so
            table[key] = _environment_value(environ[name], field)
            origins[f"{section}.{key}"] = name
    return origins, faults


def _is_ours(name: str, value: str) -> bool:
    linked = _SERVICE_LINK.fullmatch(name) or value.startswith(("tcp://", "udp://"))
    return name.startswith(PREFIX) and ("__" in name or not linked)


def _is_text(value: str) -> bool:
    """Whether a variable's bytes are UTF-8: Python has surrogates in place of those that are not."""
    return value.encode("utf-8", "surrogateescape") == value.encode("utf-8", "replace")


def _variables(root: type[BaseModel]) -> dict[str, tuple[str, str, FieldInfo]]:
    """The variables that there are: name → section, key and field."""
    return {
        f"{PREFIX}{section}__{key}".upper(): (section, key, field)
        for section, table in root.model_fields.items()
        if (model := _as_model(table.annotation))
        for key, field in model.model_fields.items()
    }


def _why_unknown(name: str, known: Mapping[str, object], root: type[BaseModel]) -> str:
    section = name.removeprefix(PREFIX).partition("__")[0].lower()
    field = root.model_fields.get(section)
    if field and not _as_model(field.annotation):
        return f"a list of tables cannot come from the environment; write [[{section}]] in the file"
    return f"unknown variable; {nearest(name, known)}"


def _environment_value(text: str, field: FieldInfo) -> object:
    """``text`` read as a TOML value, else as it stands; always text where only text is right."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # no TOML, a number of too many digits, lists that nest too deep
        return text
    texts = (str, SecretStr)
    wrong = len(parsed) != 1 or (field.annotation in texts and not isinstance(parsed["value"], str))
    return text if wrong else parsed["value"]


def tell(error: ValidationError, root: type[BaseModel]) -> list[tuple[str, str]]:
    """The key path of each fault, and what is wrong with it and would be right."""
    return [(_path(fault["loc"]), _explanation(fault, root)) for fault in error.errors(include_url=False)]


def named(path: str, origins: Mapping[str, str]) -> str:
    """A key by its path, with the variable that it came from."""
    return f"{origins[path]} ({path})" if path in origins else path


def _path(location: tuple[int | str, ...]) -> str:
    if location[0] == OTHER_STORES:
        location = ("storage", *(int(step) + 1 for step in location[1:2]), *location[2:])
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(steps).removeprefix(".")


def _explanation(fault: ErrorDetails, root: type[BaseModel]) -> str:
    kind, value = fault["type"], fault["input"]
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    if kind == "extra_forbidden":
        return f"unknown key; {nearest(str(fault['loc'][-1]), _keys(root, fault['loc'][:-1]))}"
    if kind == "missing":
        return _WORDING[kind]
    wording = _WORDING.get(kind) or fault["msg"].replace("Input should be", "must be").replace("'", '"')
    return wording if fault["loc"][-1] == "password" else f"{wording}, not {_shown(value)}"


def _shown(value: object) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False)[:80]
    except ValueError:  # a number of more digits than Python writes, given in hexadecimal
        return "a number of so many digits"


def _keys(root: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the table at ``location`` may have."""
    model = root
    for step in location:
        if isinstance(step, str):
            model = _model(_fields(model)[step].annotation) or model
    return list(_fields(model))


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model(annotation: object) -> type[BaseModel] | None:
    """The model that a field holds, by itself or as a tuple of them."""
    candidates = (annotation, *get_args(annotation))
    return next((model for candidate in candidates if (model := _as_model(candidate))), None)


def _as_model(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
