"""A policy that fits what was measured, in TOML, with the numbers that decided as comments.

New objects get a fast form: of those that are quick enough, the fastest that is nearly as small as the
smallest. Old ones get what is smallest on disk, where that is worth an encoding.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scp.advise.candidates import Candidate, ImageCandidate
from scp.advise.measuring import Measured, Row, row
from scp.syntaxes import TABLE, Content

# New objects are encoded after their response, 430 GB a day and core at this speed (MB/s). But they are also
# the ones that are retrieved most, and most peers accept none of these forms as it is stored.
_ENCODES, _DECODES = 5.0, 50.0
# The fastest form may be this much larger than the smallest that keeps up: what HTJ2K is against JPEG-LS.
_FAST_ENOUGH = 0.10
# Sizes within the first part count as equal: the quickest is taken. Another form has to save the second part.
_SAME, _ANOTHER, _MOST_FORMS = 0.01, 0.02, 3
# An object is encoded again where that saves this part of it.
_AGAIN = 0.05
_OLD = "180d"
_MODALITY = re.compile(r"[A-Z0-9][A-Z0-9_ ]*")  # as a Code String (PS3.5 6.2) is written
_OTHERS = "everything else"

Found = tuple[Row, tuple[Measured, ...]]  # a candidate over all objects, and object by object


@dataclass(frozen=True, slots=True)
class Evidence:
    """One object: its modality, and what was measured, in the candidates' order."""

    modality: str
    found: tuple[Measured, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is proposed for some objects. ``old`` is empty where ``fast`` is kept for ever.

    ``disk`` and ``old_disk`` are the sizes of fast and old, in % of raw.
    """

    fast: Candidate
    old: tuple[Candidate, ...]
    disk: float
    old_disk: float
    encode: float
    decode: float

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in TOML."""
        lines = ['{ form = "received" }', _stage((self.fast,), "0s")]
        return (*lines, _stage(self.old, _OLD)) if self.old else tuple(lines)


@dataclass(frozen=True, slots=True)
class Proposal:
    """``toml`` is a configuration's policy; ``choices`` what it says, by modality and for all others."""

    toml: str
    choices: dict[str, Choice]


def propose(compared: Sequence[Candidate], evidence: Sequence[Evidence]) -> Proposal:
    """Rules for the modalities that differ from the rest, and one for the rest; ``evidence`` is not empty."""
    by_modality: dict[str, list[Evidence]] = defaultdict(list)
    for one in evidence:
        if _MODALITY.fullmatch(one.modality):  # any other value goes into no rule, and into no comment
            by_modality[one.modality].append(one)
    choices = {name: _choice(compared, by_modality[name]) for name in sorted(by_modality)}
    choices[_OTHERS] = _choice(compared, evidence)
    return Proposal(_toml(choices), choices)


def _choice(compared: Sequence[Candidate], evidence: Sequence[Evidence]) -> Choice:
    columns = [tuple(one.found[at] for one in evidence) for at in range(len(compared))]
    usable = [
        (row(candidate, found, 0, 1.0), found)
        for candidate, found in zip(compared, columns, strict=True)
        if candidate.storable and candidate.form != "native" and not candidate.lossy
    ]
    usable = [(each, found) for each, found in usable if each.verdict == "lossless"]
    fast = _fast([each for each, _ in usable])
    old = _smallest(usable)
    raw = sum(one.raw for one in columns[0])
    together = 100 * _together([found for _, found in old]) / raw
    worth = together <= fast.disk * (1 - _AGAIN)
    forms = tuple(each.candidate for each, _ in old) if worth else ()
    return Choice(fast.candidate, forms, fast.disk, together, fast.encode, fast.decode)


def _fast(rows: Sequence[Row]) -> Row:
    """The fastest to encode of those that keep up and are nearly as small as the smallest of these."""
    able = [each for each in rows if each.encode >= _ENCODES and each.decode >= _DECODES]
    if not able:  # a slow machine: its fastest form
        return max(rows, key=lambda each: each.encode)
    most = min(each.disk for each in able) * (1 + _FAST_ENOUGH)
    return max((each for each in able if each.disk <= most), key=lambda each: each.encode)


def _smallest(usable: Sequence[Found]) -> list[Found]:
    """The forms that are smallest together, object by object: one, and others where they save more."""
    chosen: list[Found] = []
    least = 0
    while len(chosen) < _MOST_FORMS:
        fitting = [one for one in usable if _goes_with(one[0].candidate, [each for each, _ in chosen])]
        so_far = [found for _, found in chosen]
        sizes = [_together([*so_far, found]) for _, found in fitting]
        if not sizes or (chosen and min(sizes) > least * (1 - _ANOTHER)):
            break
        near = [at for at, size in enumerate(sizes) if size <= min(sizes) * (1 + _SAME)]
        quickest = max(near, key=lambda at: fitting[at][0].encode)
        chosen.append(fitting[quickest])
        least = sizes[quickest]
    return chosen


def _goes_with(candidate: Candidate, chosen: Sequence[Row]) -> bool:
    """Whether one stage can name it too: forms differ, but effort and dictionary are the same for all.

    The zstd form is tried by itself where no other can be taken.
    """
    return not chosen or (
        isinstance(candidate, ImageCandidate)
        and all(isinstance(each.candidate, ImageCandidate) for each in chosen)
        and candidate.form not in {each.candidate.form for each in chosen}
        and candidate.dictionary == chosen[0].candidate.dictionary
    )


def _together(columns: Sequence[Sequence[Measured]]) -> int:
    """Bytes on the disk if each object had the smallest of its forms."""
    return sum(min(one.disk for one in each) for each in zip(*columns, strict=True))


def _stage(forms: Sequence[Candidate], after: str) -> str:
    names = [f'"{each.form}"' for each in forms]
    keys = [f'after = "{after}"', f"form = {names[0] if len(names) == 1 else '[' + ', '.join(names) + ']'}"]
    if effort := max(each.effort for each in forms):
        keys.append(f"effort = {effort}")
    if level := max(each.level for each in forms):
        keys.append(f"level = {level}")
    if any(each.dictionary for each in forms):
        keys.append("dictionary = true")
    if len(forms) > 1:
        keys.append('keep = "smallest"')
    return "{ " + ", ".join(keys) + " }"


def _toml(choices: dict[str, Choice]) -> str:
    others = choices[_OTHERS]
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, choice in choices.items():
        if name != _OTHERS and choice.stages != others.stages:
            alike[choice.stages].append(name)
    rules = [_received_lossy()]
    for stages, names in alike.items():
        listed = ", ".join(f'"{name}"' for name in names)
        match = f"{{ Modality = {listed if len(names) == 1 else f'[{listed}]'} }}"
        rules.append(_rule(", ".join(names), match, stages, [(name, choices[name]) for name in names]))
    same = [name for name, choice in choices.items() if choice.stages == others.stages]
    told = [(name, choices[name]) for name in same if name != _OTHERS] or [("all together", others)]
    rules.append(_rule(_OTHERS, "", others.stages, told))
    return "\n".join(rules)


def _received_lossy() -> str:
    """What came lossy keeps its codestream whatever a rule says; a rule of its own saves the attempts."""
    names = [row.keyword for row in TABLE if row.content is Content.EITHER]
    listed = "".join(f'  "{name}",\n' for name in (*names, "MPEG*", "HEVC*"))
    return (
        "[[policy]]  # their codestreams are kept as they came\n"
        'name = "received lossy"\n'
        f"match = {{ transfer_syntax = [\n{listed}] }}\n"
        'stages = [{ form = "received", wrap = "auto" }]\n'
    )


def _rule(name: str, match: str, stages: Iterable[str], told: Iterable[tuple[str, Choice]]) -> str:
    lines = [f"# {line}" for who, choice in told for line in _reasons(who, choice)]
    lines += ["[[policy]]", f'name = "{name}"']
    if match:
        lines.append(f"match = {match}")
    lines += ["stages = [", *(f"  {stage}," for stage in stages), "]"]
    return "\n".join(lines) + "\n"


def _reasons(who: str, choice: Choice) -> list[str]:
    lines = [
        f"{who}: {choice.fast.name} keeps {choice.disk:.1f} %, "
        f"encodes {choice.encode:.0f} and decodes {choice.decode:.0f} MB/s a core;"
    ]
    names = " or ".join(each.name for each in choice.old)
    if choice.old:
        lines.append(f"  {names} keeps {choice.old_disk:.1f} % once it is old")
    else:
        lines.append(f"  nothing is more than {100 * _AGAIN:.0f} % smaller")
    return lines
