"""One name in each character repertoire of PS3.3 C.12.1.1.2, coded by hand: nothing here is zscp's.

Where PS3.5 has an example (annexes H to K), that is it; all have three component groups. Names coded with
escape sequences are written component by component, as the standard's are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Repertoire:
    """A Specific Character Set, a name in it as bytes, and as text."""

    character_set: str
    code: bytes
    text: str

    @property
    def terms(self) -> list[str]:
        return self.character_set.split("\\")

    @property
    def groups(self) -> list[str]:
        """The alphabetic, the ideographic and the phonetic group."""
        return self.text.split("=")


def _whole(character_set: str, codec: str, text: str) -> Repertoire:
    return Repertoire(character_set, text.encode(codec), text)


def _extended(term: str, escape: bytes, codec: str, text: str, first: str = "") -> Repertoire:
    """Each component that is not ASCII behind the escape sequence."""
    code = b""
    for group in text.split("="):
        coded = (c.encode() if c.isascii() else escape + c.encode(codec) for c in group.split("^"))
        code += b"=" * bool(code) + b"^".join(coded)
    return Repertoire(f"{first}\\ISO 2022 IR {term}", code, text)


_KANJI = b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
_LATIN = (
    ("100", b"\x1b-A", "latin_1", "Buc^Jérôme=Øre^Åse=Weiß^Jörg"),
    ("101", b"\x1b-B", "iso8859_2", "Wałęsa^Łódź=Čapek^Božena=Kőszegi^Ödön"),
    ("109", b"\x1b-C", "iso8859_3", "Ħal^Ġorġ=Ĉapelo^Ĵaŭdo=Ŝafo^Ŭeno"),
    ("110", b"\x1b-D", "iso8859_4", "Ķēniņš^Ūga=Žukas^Ąžuolas=Ŋorga^Ánne"),
    ("144", b"\x1b-L", "iso8859_5", "Люксембург^Роза=Ђорђе^Јован=Шевченко^Іван"),
    ("127", b"\x1b-G", "iso8859_6", "قباني^نزار=درويش^محمود=جبران^خليل"),
    ("126", b"\x1b-F", "iso8859_7", "Διονυσιος^Άρης=Ελύτης^Οδυσσέας=Σεφέρης^Γιώργος"),
    ("138", b"\x1b-H", "iso8859_8", "שרון^דבורה=לוי^משה=כהן^רות"),
    ("148", b"\x1b-M", "iso8859_9", "Çavuşoğlu^İğdır=Şahin^Ayşe=Yılmaz^Gülşen"),
    ("203", b"\x1b-b", "iso8859_15", "Œuvre^Žižka=Šimek^Noël=Ÿse^Cœur"),
    ("166", b"\x1b-T", "tis_620", "สมชาย^ใจดี=มานะ^รักเผ่า=ชูใจ^เลิศล้ำ"),
)
_chinese = partial(_extended, "58", b"\x1b$)A", "gb2312")

REPERTOIRES: dict[str, Repertoire] = {
    "default": Repertoire("", b"Adams^John=B^C=D^E", "Adams^John=B^C=D^E"),
    "IR 6": Repertoire("ISO_IR 6", b"Adams^John=B^C=D^E", "Adams^John=B^C=D^E"),
    **{f"IR {number}": _whole(f"ISO_IR {number}", codec, text) for number, _, codec, text in _LATIN},
    **{f"2022 IR {number}": _extended(number, *others) for number, *others in _LATIN},
    "H.3.1": Repertoire(
        "\\ISO 2022 IR 87", b"Yamada^Tarou=" + _KANJI, "Yamada^Tarou=山田^太郎=やまだ^たろう"
    ),
    "H.3.2": Repertoire(
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=" + _KANJI.replace(b"\x1b(B", b"\x1b(J"),
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "IR 13": _whole("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ=ｻﾄｳ^ｲﾁﾛｰ=ﾀﾅｶ^ﾊﾅｺ"),
    # The second byte of ボ in JIS X 0208 is that of a backslash, of ま that of a caret, of ぽ that of "]".
    "5CH in kanji": Repertoire(
        "\\ISO 2022 IR 87",
        b"Bono=\x1b$B%\\%N\x1b(B=\x1b$B$\\$^$]\x1b(B",
        "Bono=ボノ=ぼまぽ",
    ),
    "IR 159": Repertoire(
        "\\ISO 2022 IR 87\\ISO 2022 IR 159",
        b"Takasaki^Jo=\x1b$B9b\x1b(B^\x1b$(D0!\x1b(B=\x1b$B$?$+\x1b(B^\x1b$B$8$g\x1b(B",
        "Takasaki^Jo=高^丂=たか^じょ",
    ),
    "I.2": Repertoire(
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "J.1": _whole("ISO_IR 192", "utf-8", "Wang^XiaoDong=王^小東=ワン^シャオドン"),
    "J.2": _whole("GB18030", "gb18030", "Wang^XiaoDong=王^小东=ワン^シャオドン"),
    # Their second bytes are those of a backslash and of a caret.
    "5CH in GB18030": _whole("GB18030", "gb18030", "Li^An=俓^乗=亊^侊"),
    "GBK": _whole("GBK", "gbk", "Wang^XiaoDong=王^小东=ワン^シャオドン"),
    "2022 GBK": _whole("ISO 2022 GBK", "gbk", "Wang^XiaoDong=王^小东=ワン^シャオドン"),
    "K.2": _chinese("Zhang^XiaoDong=张^小东=ワン^シ"),
    "K.2 behind IR 6": _chinese("Wang^Wu=王^五=ㄨㄤ^ㄨ", first="ISO 2022 IR 6"),
    "K.2 behind IR 100": _chinese("Wang^Wu=王^五=ㄨㄤ^ㄨ", first="ISO 2022 IR 100"),
    "three": Repertoire(
        "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126",
        b"M\xfcller^J\xf6rg=\x1b-L\xbb\xee\xda^\x1b-L\xb0=\x1b-F\xc4\xe9\xef^\x1b-F\xc1",
        "Müller^Jörg=Люк^А=Διο^Α",
    ),
}
