"""Rules as an admin reads them: in words, with sizes and times as people say them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scp.config.rules import DEFAULT_POLICY, PolicyRule, Promotion, Stage

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_COMPARED = {"<=": "at most ", ">=": "at least ", "<": "less than ", ">": "more than "}
EVERYTHING = "every object"


def policy_in_words(rules: Sequence[PolicyRule]) -> tuple[str, ...]:
    """What the default policy does, in a few lines; nothing of any other."""
    if tuple(rules) != DEFAULT_POLICY:
        return ()
    return (
        "The default policy: an object is kept as High-Throughput JPEG 2000 right after the response, or as"
        " it came where it came compressed.",
        "After 30 days it gets the smallest of JPEG XL, JPEG 2000 and JPEG-LS, if that is smaller; JPEG is"
        " then kept as JPEG XL that gives back the JPEG's own bytes.",
        "Objects of a SOP class that are mostly header share a zstd dictionary, which zscp trains; stored"
        " ones are packed anew with it. Back up the folder `dictionaries`: they cannot be read without it.",
        "Nothing is lossy. `zscp plan` shows what is due; a [[policy]] of your own replaces all of this.",
    )


def forms_of(stage: Stage) -> str:
    """The forms that a stage asks for, and in which store, if it is not the first."""
    forms = "/".join(stage.forms)
    return f"{forms} in {stage.store}" if stage.store else forms


def becomes_in_words(stage: Stage, packs: bool) -> str:
    """What becomes of an object: the forms of a stage, or the same form in another zstd frame."""
    if not packs:
        return forms_of(stage)
    return "packed anew with a dictionary" if stage.dictionary else "packed anew without a dictionary"


def stage_in_words(stage: Stage) -> str:
    """A stage and when it applies, such as ``jpegxl in deep after 180 d``."""
    if isinstance(stage, Promotion):
        return f"{forms_of(stage) or 'the first store'} when retrieved, for {span(stage.keep_for)}"
    times = []
    if stage.after is not None:
        times.append("at once" if stage.after == 0 else f"after {span(stage.after)}")
    if stage.after_access is not None:
        times.append(f"{span(stage.after_access)} after the last retrieve")
    return f"{made_in_words(stage)} {' and '.join(times) or 'on receive'}"


def made_in_words(stage: Stage) -> str:
    """What a stage makes of an object, whenever it applies, such as ``jpegxl (effort 7) in deep``."""
    told = [f"{key} {value}" for key in ("effort", "level", "wrap") if (value := getattr(stage, key))]
    told += ["dictionary"] if stage.dictionary else []
    told += [f"lossy: {stage.loss.words}, {stage.uid} UID"] if stage.lossy else []
    told += ["smallest"] if stage.compares else []
    return f"{forms_of(stage)} ({', '.join(told)})" if told else forms_of(stage)


def match_in_words(match: Mapping[str, tuple[str, ...]]) -> str:
    """What a rule asks of an object, such as ``Modality CT or MR; size at least 10000000``."""
    parts = [f"{key} {' or '.join(map(_wanted, wanted))}" for key, wanted in match.items()]
    return "; ".join(parts) or EVERYTHING


def _wanted(pattern: str) -> str:
    for sign, words in _COMPARED.items():
        if pattern.startswith(sign):
            return words + pattern.removeprefix(sign)
    return pattern


def span(seconds: float) -> str:
    """A time in its largest whole unit: 180 d, 36 h."""
    length, unit = next(
        ((length, unit) for length, unit in _UNITS if seconds >= length and seconds % length == 0), (1, "s")
    )
    return f"{seconds / length:g} {unit}"
