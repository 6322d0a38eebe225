"""Names in every character repertoire: found in each component group, answered in three character sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from repertoires import REPERTOIRES, Repertoire

from scp.encoding.characters import decoded, encoded, terms_of

from .conftest import RunningNode, Starter
from .peers import (
    EXPLICIT,
    PATIENT_FIND,
    STUDY_FIND,
    Answer,
    Scu,
    Sent,
    as_file,
    dcmtk,
    identifier,
    image,
    of_file,
)
from .peers import written as stream_of

pytestmark = pytest.mark.peer

_CASE = Path(__file__).parents[1] / "data" / "cases" / "ir58-name.dcm"
_STUDIES = {name: f"1.2.9.{number}" for number, name in enumerate(REPERTOIRES, 1)}
EACH = pytest.mark.parametrize("name", REPERTOIRES)


class _Bytes(bytes):
    """A value that pydicom writes as it is."""

    def encode(self, _: object) -> bytes:
        return self


def _raw(dataset: Dataset, tag: int, vr: str, value: bytes) -> None:
    dataset[tag] = DataElement(tag, vr, _Bytes(value), already_converted=True)


def _object(name: str, repertoire: Repertoire) -> Sent:
    study = _STUDIES[name]
    made = image(study=study, instance=f"{study}.1.1", rows=8, PatientID=f"P{study}")
    dataset = made.dataset
    dataset.SpecificCharacterSet = repertoire.terms
    _raw(dataset, 0x00100010, "PN", repertoire.code)
    return Sent(made.sop_class, made.instance, EXPLICIT, stream_of(dataset, EXPLICIT))


@pytest.fixture(scope="module")
def node(start_shared: Starter) -> RunningNode:
    node = start_shared()
    node.keep(*(_object(name, repertoire) for name, repertoire in REPERTOIRES.items()), of_file(_CASE))
    return node


def _query(character_set: str, name: bytes, **keys: Any) -> Dataset:
    query = identifier("STUDY", StudyInstanceUID="", **keys)
    if character_set:
        query.SpecificCharacterSet = character_set.split("\\")
    _raw(query, 0x00100010, "PN", name)
    return query


def _find(scu: Scu, query: Dataset) -> dict[str, Answer]:
    """Study Instance UID → its answer."""
    *answers, final = scu.find(STUDY_FIND, query)
    assert final.status == 0, final
    return {str(one.identifier.StudyInstanceUID): one for one in answers if one.identifier is not None}


@pytest.fixture(scope="module")
def scu(node: RunningNode) -> Iterator[Scu]:
    """One association for all: each costs more than a query."""
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        yield scu


def _name_in(answer: Answer) -> tuple[str, bytes]:
    """The character set, and the name as it came."""
    assert answer.identifier is not None
    raw = answer.identifier.get_item(0x00100010)
    element = answer.identifier.get("SpecificCharacterSet", "")
    character_set = element if isinstance(element, str) else "\\".join(element)
    return character_set, raw.value  # type: ignore[union-attr,return-value]


@EACH
def test_found_by_wildcard_in_each_group(scu: Scu, name: str) -> None:
    """In UTF-8, and in the object's own character set; ``=`` says which group is meant."""
    repertoire = REPERTOIRES[name]
    for place, group in enumerate(repertoire.groups):
        for pattern in (f"{group[:1]}*", f"{'=' * place}{group[:2]}*", f"*{group[-2:]}", group):
            in_utf8 = _find(scu, _query("ISO_IR 192", pattern.encode()))
            assert _STUDIES[name] in in_utf8, pattern
            code = encoded(pattern, terms_of(repertoire.character_set), name=True)
            assert code is not None
            assert _find(scu, _query(repertoire.character_set, code)).keys() == in_utf8.keys(), pattern
    nobody = "?".join(("x", *repertoire.groups))
    assert _find(scu, _query("ISO_IR 192", nobody.encode()[:60])) == {}


@EACH
def test_answered_in_the_querys_or_the_objects_character_set(scu: Scu, name: str) -> None:
    repertoire, study = REPERTOIRES[name], _STUDIES[name]
    ascii_only = repertoire.text.isascii()
    own = "" if ascii_only else repertoire.character_set
    for asked, answered in (
        ("ISO_IR 192", "" if ascii_only else "ISO_IR 192"),
        (repertoire.character_set, own),
        ("", own),
        ("ISO_IR 6", own),  # it cannot hold the name
    ):
        answer = _find(scu, _query(asked, b"", PatientID=f"P{study}"))[study]
        character_set, code = _name_in(answer)
        assert character_set == answered
        assert decoded(code, terms_of(character_set), name=True).rstrip() == repertoire.text
        # What another reader makes of it; pydicom does not know two of them.
        if not any(term in character_set for term in ("IR 58", "IR 203")):
            assert str(answer.identifier.PatientName) == repertoire.text  # type: ignore[union-attr]
            assert "\x1b" not in str(answer.identifier.PatientName)  # type: ignore[union-attr]


def test_at_patient_level_in_utf8(node: RunningNode) -> None:
    query = identifier("PATIENT", PatientID=f"P{_STUDIES['I.2']}", PatientName="")
    with node.scu((PATIENT_FIND, [EXPLICIT])) as scu:
        (answer, _) = scu.find(PATIENT_FIND, query)
    assert _name_in(answer) == ("ISO_IR 192", REPERTOIRES["I.2"].text.encode())


@pytest.mark.parametrize("pattern", ["张*", "=张^小东", "*小?", "Zhang*"])
def test_the_case_of_ir_58(scu: Scu, pattern: str, tmp_path: Path) -> None:
    """The example of PS3.5 K.2 and K.3, as a file; DCMTK reads the answer."""
    came = of_file(_CASE).dataset
    query = _query("ISO_IR 192", pattern.encode(), StudyDescription="")
    answer = _find(scu, query)[came.StudyInstanceUID]
    assert str(answer.identifier.PatientName) == "Zhang^XiaoDong=张^小东"  # type: ignore[union-attr]
    assert answer.identifier.StudyDescription == "第一行"  # type: ignore[union-attr]
    own = _query("\\ISO 2022 IR 58", b"", StudyDescription="")
    own.StudyInstanceUID = came.StudyInstanceUID
    answer = _find(scu, own)[came.StudyInstanceUID]
    assert _name_in(answer)[0] == "\\ISO 2022 IR 58"
    file = as_file(
        Sent("1.2", "1.2", EXPLICIT, stream_of(answer.identifier, EXPLICIT)), tmp_path / "answer.dcm"
    )  # type: ignore[arg-type]
    shown = dcmtk("dcmdump", "-q", "+U8", file).stdout
    assert "[Zhang^XiaoDong=张^小东]" in shown
    assert "[第一行" in shown
