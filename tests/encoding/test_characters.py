"""Character repertoires with code extensions, read and written; DCMTK reads what is written."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import as_received, element
from repertoires import REPERTOIRES, Repertoire

from scp.encoding.characters import decoded, encoded, terms_of
from scp.encoding.facts import survey
from scp.syntaxes import EXPLICIT

EACH = pytest.mark.parametrize("repertoire", REPERTOIRES.values(), ids=REPERTOIRES)
_WITHOUT_ESCAPES = ("ISO_IR 192", "GB18030", "GBK", "ISO 2022 GBK")
_UNKNOWN = re.compile("IR 87|IR 203|2022 GBK")  # to DCMTK, or to the iconv that it is built with


@EACH
def test_read_and_written(repertoire: Repertoire) -> None:
    terms = terms_of(repertoire.character_set)
    assert decoded(repertoire.code, terms, name=True) == repertoire.text
    code = encoded(repertoire.text, terms, name=True)
    assert code is not None
    assert decoded(code, terms, name=True) == repertoire.text


@pytest.mark.parametrize("name", ["H.3.1", "H.3.2", "IR 159", "I.2", "J.1", "J.2", "K.2", "three"])
def test_the_standards_examples_byte_for_byte(name: str) -> None:
    repertoire = REPERTOIRES[name]
    assert encoded(repertoire.text, terms_of(repertoire.character_set), name=True) == repertoire.code


@EACH
def test_an_object_is_read_so(repertoire: Repertoire) -> None:
    """In every VR that Specific Character Set counts for."""
    single = repertoire.code.split(b"=")[0].split(b"^")[0]
    stream = b"".join(
        (
            element(0x00080005, "CS", _even(repertoire.character_set.encode())),
            element(0x00081030, "LO", _even(single)),
            element(0x00100010, "PN", _even(repertoire.code)),
            element(0x00104000, "LT", _even(single)),
        )
    )
    found = survey(as_received(stream, EXPLICIT)).attributes
    assert found["PatientName"] == repertoire.text
    assert (
        found["StudyDescription"] == found["PatientComments"] == repertoire.text.split("=")[0].split("^")[0]
    )


@pytest.mark.parametrize("name", [n for n, r in REPERTOIRES.items() if not _UNKNOWN.search(r.character_set)])
def test_dcmtk_reads_what_is_written(name: str, tmp_path: Path) -> None:
    if shutil.which("dcmdump") is None:
        pytest.skip("DCMTK's tools are not installed")
    repertoire = REPERTOIRES[name]
    code = encoded(repertoire.text, terms_of(repertoire.character_set), name=True)
    assert code is not None
    file = tmp_path / "name.dcm"
    charset = element(0x00080005, "CS", _even(repertoire.character_set.encode()))
    file.write_bytes(charset + element(0x00100010, "PN", _even(code)))
    shown = subprocess.run(["dcmdump", "-q", "+L", "+U8", "-f", "-te", file], capture_output=True, check=True)
    assert f"[{repertoire.text}]" in shown.stdout.decode()


def _even(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)


@pytest.mark.parametrize(
    ("code", "character_set", "text"),
    [
        (b"Hong=\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7", "\\ISO 2022 IR 149", "Hong=洪^吉洞"),  # invoked once
        (b"\x1b$)A\xd5\xc5", "", "张"),  # not declared
        (b"a\x1b%Gb\x1b", "", "ab"),  # another, and one that is cut off
        (b"\x1b$B;", "\\ISO 2022 IR 87", "\ufffd"),
        (b"\x1b$)A\xff\xff", "\\ISO 2022 IR 58", "\ufffd"),
        (b"\xe9", "", "é"),
        (b"\xe9", "NONE SUCH", "é"),
        (b"\xc4", "ISO-IR 126", "Δ"),  # misspelt
    ],
)
def test_what_is_not_by_the_book(code: bytes, character_set: str, text: str) -> None:
    assert decoded(code, terms_of(character_set), name=True) == text


@pytest.mark.parametrize(
    ("text", "character_set"),
    [
        ("ü", ""),
        ("ü", "ISO_IR 6"),
        ("ü", "\\ISO 2022 IR 87"),
        ("Д", "ISO_IR 100"),
        ("¥", "ISO_IR 13"),  # Python codes it as a backslash
        ("가", "\\ISO 2022 IR 58"),
        ("똠", "\\ISO 2022 IR 149"),  # not one of KS X 1001: Python would spell it in eight bytes
        ("é", "NONE SUCH"),
    ],
)
def test_what_a_repertoire_does_not_have_is_not_written(text: str, character_set: str) -> None:
    assert encoded(text, terms_of(character_set)) is None


def test_lines_and_values_begin_with_the_first_repertoire() -> None:
    """PS3.5 6.1.2.5.3, K.3."""
    terms = terms_of("\\ISO 2022 IR 58")
    assert encoded("第\r\n二\\三", terms) == b"\x1b$)A\xb5\xda\r\n\x1b$)A\xb6\xfe\\\x1b$)A\xc8\xfd"
    kanji = encoded("山\n田", terms_of("\\ISO 2022 IR 87"))
    assert kanji == b"\x1b$B;3\x1b(B\n\x1b$BED\x1b(B"


SETS = st.sampled_from([each.character_set for each in REPERTOIRES.values()])


@examples(300)
@given(st.text(), SETS, st.booleans())
def test_what_can_be_written_reads_the_same(text: str, character_set: str, name: bool) -> None:
    terms = terms_of(character_set)
    code = encoded(text, terms, name)
    if code is not None and "\x1b" not in text:
        assert decoded(code, terms, name) == text


@examples(300)
@given(st.binary(), SETS, st.booleans())
def test_anything_can_be_read_and_no_escape_is_left(code: bytes, character_set: str, name: bool) -> None:
    text = decoded(code, terms_of(character_set), name)
    assert "\x1b" not in text or character_set in _WITHOUT_ESCAPES
