"""The part of docs/commands.md that the command line itself says: commands, arguments, options.

``python -m scripts.commands`` writes it anew. With ``--check`` it changes nothing, and
exits with 1 where the page is not as the command line is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from scp.cli.main import app
from scripts.sections import Sections, main, table

DOCUMENT = Path(__file__).parents[1] / "docs" / "commands.md"
# What most commands take is said once, above the list.
_COMMON = ("config", "json", "help")


def _commands(group: Any = None, before: str = "zscp") -> Iterator[tuple[str, Any]]:
    """Each command with its whole name, those of a group behind one another."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{before} {name}", command
            yield from _commands(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def _overview() -> str:
    rows = [(f"[`{name}`](#{_anchor(name)})", _paragraphs(command)[0]) for name, command in _commands()]
    return table(("command", "what it does"), rows)


def _reference() -> str:
    return "\n" + "".join(_described(name, command) for name, command in _commands())


def _described(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name not in _COMMON]
    taken = [one.name for one in command.params]
    common = "".join(
        f" [--{option}{value}]" for option, value in (("config", " FILE"), ("json", "")) if option in taken
    )
    needed = [_spelled(one) for one in options if one.required]
    rest = ["[OPTIONS]"] if len(needed) < len(options) else []
    usage = " ".join([name, *map(_placed, arguments), *needed, *rest]) + common
    text = f"### {name}\n\n" + "\n\n".join(_paragraphs(command)) + f"\n\n```console\n$ {usage}\n```\n"
    rows = [(f"`{_placed(one)}`", one.help or "") for one in arguments if one.help]
    rows += [(f"`{_spelled(one)}`", _explained(one)) for one in options]
    return text + (table(("argument or option", "what it means"), rows) if rows else "\n")


def _paragraphs(command: Any) -> list[str]:
    text = (command.help or "").replace("<", r"\<")  # which would begin a tag
    return [" ".join(part.split()) for part in text.split("\n\n")]


def _placed(argument: Any) -> str:
    named = (argument.metavar or argument.name).upper() + ("…" if argument.nargs == -1 else "")
    return named if argument.required else f"[{named}]"


def _spelled(option: Any) -> str:
    names = ", ".join(option.opts)
    return names if option.is_flag else f"{names} {(option.metavar or option.name).upper().replace('_', '-')}"


def _explained(option: Any) -> str:
    text = option.help or ""
    if option.required:
        return f"{text} Required."
    default = option.default
    return text if option.is_flag or default in (None, "", ()) else f"{text} Default: {default}."


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


SECTIONS: Sections = {"overview": _overview, "reference": _reference}

if __name__ == "__main__":
    sys.exit(main(DOCUMENT, SECTIONS, "make commands", sys.argv[1:]))
