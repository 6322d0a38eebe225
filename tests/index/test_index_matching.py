"""Attribute matching of PS3.4 C.2.2.2, case by case, as the database itself answers."""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import normalize

import pytest
from examples import examples
from hypothesis import HealthCheck, assume, example, given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from sqlalchemy import Connection, func, literal, select
from wildcard_reference import alike

from scp.encoding.uids import uid_of
from scp.errors import QueryError
from scp.index.attributes import COMPUTED, HELD, HELD_BY_KEYWORD, column_name
from scp.index.dialect import connect
from scp.index.keys import clean, fold, keys, period
from scp.index.matching import MOST_PATTERNS, MOST_VALUES, combined, condition, universal
from scp.index.values import matcher_of
from scp.model import LEVELS, UNIQUE_KEYS, QueryKey

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    engine = connect(f"sqlite:///{tmp_path_factory.mktemp('index')}/index.db")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def entity(*attributes: tuple[str, str]):
    """A row as it is recorded, that has nothing but ``attributes``."""
    columns: dict[str, str] = {}
    for keyword, stored in attributes:
        held = HELD_BY_KEYWORD[keyword]
        text = clean(held, stored)
        columns |= dict(zip(held.key_columns, keys(held, text), strict=True)) | {held.column: text}
    return select(*(literal(value).label(name) for name, value in columns.items())).subquery()


def key(keyword: str, value: str) -> QueryKey:
    return QueryKey(keyword, dictionary_VR(keyword), value)


def matches(database: Connection, keyword: str, asked: str, stored: str) -> bool:
    """As the database answers it, and as it is answered of items of sequences, which must be the same."""
    row = entity((keyword, stored))
    sought = condition(key(keyword, asked), HELD_BY_KEYWORD[keyword], row)
    within = matcher_of(HELD_BY_KEYWORD[keyword], asked)
    if sought is None:
        assert within is None
        return True
    found = database.scalar(select(func.count()).select_from(row).where(sought)) == 1
    assert within is not None
    assert within(stored) is found
    return found


NAMES = [
    ("DOE^JOHN", "Doe^John", True),
    ("doe^john", "DOE^JOHN", True),
    ("DOE^JOHN", "Doe^Johnny", False),
    ("DOE^JOHN", "Doe", False),
    ("DOE", "Doe^John", False),
    ("DOE^JOHN^^", "Doe^John", True),
    ("DOE^JOHN", "Doe^John^^^", True),
    ("DOE^JOHN", "Doe ^ John ", True),
    ("DOE*", "Doe^John", True),
    ("DOE*", "Doerfler^Ann", True),
    ("DOE^*", "Doe^John", True),
    ("DOE^*", "Doerfler^Ann", False),
    ("DOE^*", "Doe", True),
    ("DOE^JOHN^*^*", "Doe^John", True),
    ("*JOHN", "Doe^John", True),
    ("*^J*", "Doe^John", True),
    ("D?E^JOHN", "Doe^John", True),
    ("D?E^JOHN", "Dooe^John", False),
    ("D%E^JOHN", "Doe^John", False),
    ("D_E^JOHN", "Doe^John", False),
    ("*_*", "Doe^John", False),
    ("MÜLLER^*", "Müller^Jörg", True),
    ("MU\u0308LLER^JO\u0308RG", "Müller^Jörg", True),  # decomposed, as some systems send it
    ("STRASSE", "Straße", True),
    ("ΣΊΣΥΦΟΣ", "Σίσυφος", True),
    ("Yamada^Tarou", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
    ("yamada*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
    ("山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
    ("山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
    ("山?^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
    ("やまだ^*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
    ("Tarou=山田", "Yamada^Tarou=山田^太郎=やまだ^たろう", False),
    ("Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
    ("Yamada*=山田*=", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
    ("=山田*", "Yamada^Tarou=山田^太郎", True),
    ("=Yamada*", "Yamada^Tarou=山田^太郎", False),
    ("Yamada*=鈴木*", "Yamada^Tarou=山田^太郎", False),
    ("*Tarou=*", "Yamada^Tarou=山田^太郎", True),
    ("Yama*太郎", "Yamada^Tarou=山田^太郎", False),  # one group at a time
    ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ^タロウ=山田^太郎=やまだ^たろう", True),  # half-width katakana
    ("ヤマダ*", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", True),
    ("Ｙａｍａｄａ*", "Yamada^Tarou", True),  # full-width Latin
    ("Hong^Gildong", "Hong^Gildong=洪^吉洞=홍^길동", True),
    ("홍^길동", "Hong^Gildong=洪^吉洞=홍^길동", True),
    ("홍*", "Hong^Gildong=洪^吉洞=홍^길동", True),
    ("홍^?동", "Hong^Gildong=洪^吉洞=홍^길동", True),
    (normalize("NFD", "홍^길동"), "Hong^Gildong=洪^吉洞=홍^길동", True),
    ("洪^吉洞", "Hong^Gildong=洪^吉洞=홍^길동", True),
    ("김*", "Hong^Gildong=洪^吉洞=홍^길동", False),
    ("DOE^*\\ROE^*", "Roe^Richard", True),
    ("DOE^*\\ROE^*", "Poe^Edgar", False),
    ("DOE*", "", False),
    ("?*", "", False),
    ("*", "", True),
    ("", "", True),
    ("^^", "", True),
    ("==", "", True),
    ("^*", "^John", True),
    ("*^*^*^*^*^*^*", "Doe^John", True),
]


@pytest.mark.parametrize(("asked", "stored", "expected"), NAMES)
def test_names(database, asked, stored, expected):
    assert matches(database, "PatientName", asked, stored) is expected


@pytest.mark.parametrize(
    ("keyword", "asked", "stored", "expected"),
    [
        ("PatientID", "A1", "A1", True),
        ("PatientID", "a1", "A1", False),
        ("PatientID", "A1 ", " A1", True),
        ("PatientID", "A", "A1", False),
        ("PatientID", "A*", "A1", True),
        ("PatientID", "a*", "A1", False),
        ("PatientID", "A?", "A1", True),
        ("PatientID", "A?", "A", False),
        ("PatientID", "100%", "1000", False),
        ("PatientID", "100%*", "100% sure", True),
        ("PatientID", "1/*", "1/2", True),
        ("PatientID", "A1\\B2", "B2", True),
        ("PatientID", "A1\\B*", "B2", True),
        ("PatientID", "A1\\", "", False),
        ("PatientID", "[A]*", "[A]1", True),
        ("PatientID", "***", "", True),
        ("PatientID", "\ud800*", "\udfffA", True),  # both are question marks by then
        ("StudyDescription", "*Abdomen*", "CT Abdomen/Pelvis", True),
        ("StudyDescription", "*abdomen*", "CT Abdomen/Pelvis", False),
        ("StudyDescription", "Sch?del*", "Schädel nativ", True),
        ("StudyDescription", "胸部*", "胸部CT", True),
        ("PatientComments", "a\\b", "a\\b", True),  # a backslash is text in LT
        ("PatientComments", "a\\b", "b", False),
        ("PatientComments", "*line\nbreak*", "a line\nbreak", True),
        ("PatientSex", "M\\F", "F", True),
        ("ImageType", "PRIMARY", "ORIGINAL\\PRIMARY\\AXIAL", True),
        ("ImageType", "PRIM", "ORIGINAL\\PRIMARY\\AXIAL", False),
        ("ImageType", "PRIM*", "ORIGINAL\\PRIMARY\\AXIAL", True),
        ("ImageType", "*IMARY", "ORIGINAL\\PRIMARY \\AXIAL", True),
        ("ImageType", "ORIG*AXIAL", "ORIGINAL\\PRIMARY\\AXIAL", False),
        ("ImageType", "ORIG?NAL", "ORIGINAL\\PRIMARY", True),
        ("ImageType", "LOCALIZER\\AXIAL", "ORIGINAL\\PRIMARY\\AXIAL", True),
        ("ImageType", "?*", "", False),
        ("OperatorsName", "ROE*", "Doe^John\\Roe^Jane", True),
        ("OperatorsName", "roe^jane", "Doe^John\\Roe^Jane=李^珍", True),
        ("OperatorsName", "李^*", "Doe^John\\Roe^Jane=李^珍", True),
        ("OperatorsName", "Doe*Jane", "Doe^John\\Roe^Jane", False),
        ("WindowCenter", "40", "40\\400", True),
        ("WindowCenter", "400", "40\\400", True),
        ("WindowCenter", "4*", "40\\400", False),  # DS takes no wildcards
        ("PatientAge", "04*", "045Y", False),
        ("Rows", "512", "512", True),
        ("SeriesNumber", "7", "007", True),
        ("SeriesNumber", "+07", "7", True),
        ("SeriesNumber", "7", "70", False),
        ("SeriesNumber", "3\\7", "7", True),
        ("SeriesNumber", "-1", "-1", True),
        ("SOPInstanceUID", "1.2.3", "1.2.3", True),
        ("SOPInstanceUID", "1.2.3", "1.2.30", False),
        ("SOPInstanceUID", "1.2.4\\1.2.3", "1.2.3", True),
        ("SOPInstanceUID", "1.2.3\0", "1.2.3\0", True),
    ],
)
def test_text(database, keyword, asked, stored, expected):
    assert matches(database, keyword, asked, stored) is expected


@pytest.mark.parametrize(
    ("keyword", "asked", "stored", "expected"),
    [
        ("StudyDate", "20240131", "20240131", True),
        ("StudyDate", "20240131", "2024.01.31", True),
        ("StudyDate", "2024.01.31", "20240131", True),
        ("StudyDate", "20240130", "20240131", False),
        ("StudyDate", "20240101-20240131", "20240131", True),
        ("StudyDate", "20240101-20240131", "20240201", False),
        ("StudyDate", " 20240101 - 20240131 ", "20240101", True),
        ("StudyDate", "20240101-", "20991231", True),
        ("StudyDate", "20240101-", "20231231", False),
        ("StudyDate", "-20240101", "19000101", True),
        ("StudyDate", "-20240101", "", False),
        ("StudyDate", "20240101-", "", False),
        ("StudyDate", "-20240101", "unknown", False),
        ("StudyDate", "20240230-20240231", "20240229", False),
        ("StudyDate", "20240131-20240101", "20240115", False),
        ("StudyDate", "20240101\\20240103", "20240103", True),
        ("StudyDate", "20240101\\20240103", "20240102", False),
        ("StudyTime", "10", "1015", True),
        ("StudyTime", "10", "105959.999999", True),
        ("StudyTime", "10", "11", False),
        ("StudyTime", "1015", "101559", True),
        ("StudyTime", "101530", "101530.5", True),
        ("StudyTime", "101530.5", "101530.500000", True),
        ("StudyTime", "101530.5", "101530.6", False),
        ("StudyTime", "10:15:30", "101530", True),
        ("StudyTime", "101530", "10:15:30.25", True),
        ("StudyTime", "10-12", "125959", True),
        ("StudyTime", "10-12", "13", False),
        ("StudyTime", "1000-1200", "120059.9", True),
        ("StudyTime", "-10", "000000", True),
        ("StudyTime", "10-", "235960", True),
        ("StudyTime", "10-", "", False),
        ("AcquisitionDateTime", "2024", "20240131101530.123456", True),
        ("AcquisitionDateTime", "202401", "20240131101530", True),
        ("AcquisitionDateTime", "202402", "20240131101530", False),
        ("AcquisitionDateTime", "20240131101530", "20240131101530.1+0100", True),
        ("AcquisitionDateTime", "20240131-0500", "20240131101530", True),
        ("AcquisitionDateTime", "2023-2024", "20240131101530", True),
        ("AcquisitionDateTime", "2022-2023", "20240131101530", False),
        ("AcquisitionDateTime", "20240131-0500-20240201-0500", "20240201235959", True),
        ("AcquisitionDateTime", "-20240131+0100", "20240131", True),
        ("AcquisitionDateTime", "202402-", "20240131101530", False),
    ],
)
def test_dates_and_times(database, keyword, asked, stored, expected):
    assert matches(database, keyword, asked, stored) is expected


@pytest.mark.parametrize(
    ("keyword", "asked"),
    [
        ("StudyDate", "2024"),
        ("StudyDate", "2024*"),
        ("StudyDate", "20241301"),
        ("StudyDate", "20240101-20240102-20240103"),
        ("StudyDate", "-"),
        ("StudyDate", "today"),
        ("StudyDate", "２０２４０１０１"),
        ("StudyTime", "1"),
        ("StudyTime", "25"),
        ("StudyTime", "101530.1234567"),
        ("AcquisitionDateTime", "2024-1-1"),
        ("SeriesNumber", "1-5"),
        ("SeriesNumber", "1*"),
        ("PatientName", "a=b=c=d"),
        ("PatientID", "\\".join("A" * (MOST_PATTERNS + 1))),
        ("StudyInstanceUID", "\\".join("1" * (MOST_VALUES + 1))),
    ],
)
def test_malformed_values_are_refused_by_name(database, keyword, asked):
    with pytest.raises(QueryError, match=keyword):
        matches(database, keyword, asked, "")


@pytest.mark.parametrize(
    ("dates", "times", "stored", "expected"),
    [
        ("20240101-20240103", "10-12", ("20240101", "0959"), False),
        ("20240101-20240103", "10-12", ("20240101", "2300"), True),
        ("20240101-20240103", "10-12", ("20240102", "0300"), True),
        ("20240101-20240103", "10-12", ("20240103", "1259"), True),
        ("20240101-20240103", "10-12", ("20240103", "1300"), False),
        ("20240101-", "10-", ("20250101", "0000"), True),
        ("20240101-", "10-", ("20240101", "0000"), False),
        ("-20240103", "-10", ("20240103", "1059"), True),
        ("-20240103", "-10", ("", "0000"), False),
        ("20240101", "10", ("20240101", "1030"), True),
    ],
)
def test_combined_date_and_time(database, dates, times, stored, expected):
    row = entity(("StudyDate", stored[0]), ("StudyTime", stored[1]))
    columns = (row.c.study_date_key, row.c.study_time_key)
    sought = combined(key("StudyDate", dates), key("StudyTime", times), columns)
    assert (database.scalar(select(func.count()).select_from(row).where(sought)) == 1) is expected


LETTERS = "abAB%_/[]^$.(|)+'\"é山\ud7ff\U0010ffff"
texts = st.text(LETTERS, max_size=6)
patterns = st.text(LETTERS + "**??", min_size=1, max_size=6).filter(lambda pattern: not universal(pattern))
quick = examples(400, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.text(min_size=1, max_size=80))
@example("1.2.*")
@example("LOCALIZER2.16.6003")
@example("1.02.?")
def test_any_uid_is_found_by_itself(database, text):
    uid = uid_of(text)
    assume(not universal(uid))
    assert matches(database, "StudyInstanceUID", uid, uid)
    assert matches(database, "StudyInstanceUID", f"1.2\\{uid} \\1.3", uid)
    assert not matches(database, "StudyInstanceUID", f"{uid}0", uid)


@quick
@given(pattern=patterns, text=texts)
@example(pattern="\ud7ff*", text="\ud7ffa")
@example(pattern="\U0010ffff*", text="\U0010ffffa")
@example(pattern="a\U0010ffff*", text="a\U0010ffffa")
def test_wildcards_as_defined(database, pattern, text):
    assert matches(database, "StudyDescription", pattern, text) == (text != "" and alike(pattern, text))


@quick
@given(pattern=patterns, several=st.lists(texts.filter(bool), min_size=1, max_size=3))
def test_wildcards_stay_within_a_value(database, pattern, several):
    expected = any(alike(pattern, value) for value in several)
    assert matches(database, "OtherPatientIDs", pattern, "\\".join(several)) == expected


@given(st.text())
def test_folding_once_is_enough(text):
    assert fold(fold(text)) == fold(text)


@given(st.sampled_from(HELD), st.text())
def test_whatever_comes_can_be_kept(attribute, text):
    kept = clean(attribute, text)
    kept.encode()
    assert clean(attribute, kept) == kept
    assert len(keys(attribute, kept)) == len(attribute.key_columns)


@given(st.times())
def test_times_keep_their_order(moment):
    text = moment.strftime("%H%M%S.%f")
    assert period("TM", text) == (text, text)
    assert period("TM", text[:4]) == (text[:4] + "00.000000", text[:4] + "59.999999")


def test_many_stars_take_no_time(database):
    assert not matches(database, "DocumentTitle", "*a" * 40 + "b", "a" * 1000)
    assert not matches(database, "OtherPatientIDs", "*a" * 40 + "b", "a" * 1000 + "\\b")
    assert matches(database, "OtherPatientIDs", "*a" * 40 + "b", "a" * 1000 + "\\" + "ca" * 40 + "b")


@pytest.mark.parametrize("attribute", HELD, ids=lambda attribute: attribute.keyword)
def test_the_table_agrees_with_the_dictionary(attribute):
    tag = tag_for_keyword(attribute.keyword)
    assert tag is not None
    assert attribute.vr in dictionary_VR(tag).split(" or ")
    assert attribute.several == (dictionary_VM(tag) != "1")


def test_every_keyword_stands_once_and_every_level_has_its_unique_key():
    keywords = [row.keyword for row in (*HELD, *COMPUTED)]  # type: ignore[attr-defined]
    assert len(keywords) == len(set(keywords))
    assert all(HELD_BY_KEYWORD[UNIQUE_KEYS[level]].level == level for level in LEVELS)


def test_column_names():
    assert column_name("SOPClassUID") == "sop_class_uid"
    assert column_name("OtherPatientIDs") == "other_patient_ids"
    assert column_name("StudyID") == "study_id"
