"""The Native DICOM Model (PS3.19 A.1) as XML, made of the DICOM JSON Model."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from pydicom.datadict import keyword_for_tag

from scp.web.dicomweb.json_model import JsonDataset

MEDIA_TYPE = "application/dicom+xml"
_NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
# What XML 1.0 has no way to write (2.2).
_NO_CHARACTER = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def native_model(dataset: JsonDataset) -> bytes:
    """A document of one dataset, in UTF-8."""
    root = Element("NativeDicomModel", {"xmlns": _NAMESPACE, "xml:space": "preserve"})
    _fill(root, dataset)
    written: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return written.replace(b"\r", b"&#13;")  # who reads XML takes a plain one for the end of a line (2.11)


def _fill(parent: Element, dataset: JsonDataset) -> None:
    for tag, attribute in dataset.items():
        given = {"tag": tag, "vr": attribute["vr"]}
        if keyword := keyword_for_tag(int(tag, 16)):
            given["keyword"] = keyword
        if creator := _creator(dataset, tag):
            given["privateCreator"] = creator
        element = SubElement(parent, "DicomAttribute", given)
        if "BulkDataURI" in attribute:
            SubElement(element, "BulkData", {"uri": attribute["BulkDataURI"]})
        if "InlineBinary" in attribute:
            SubElement(element, "InlineBinary").text = attribute["InlineBinary"]
        for number, value in enumerate(attribute.get("Value", ()), 1):
            _add_value(element, attribute["vr"], str(number), value)


def _creator(dataset: JsonDataset, tag: str) -> str:
    """Who reserved the block of a private attribute (PS3.5 7.8.1); empty for others."""
    if tag[3] not in "13579BDF" or tag[4:6] == "00":
        return ""
    values = dataset.get(f"{tag[:4]}00{tag[4:6]}", {}).get("Value")
    return _written(str(values[0])) if values else ""


def _add_value(parent: Element, vr: str, number: str, value: Any) -> None:
    if vr == "SQ":
        _fill(SubElement(parent, "Item", {"number": number}), value or {})
    elif vr == "PN":
        name = SubElement(parent, "PersonName", {"number": number})
        for group, text in (value or {}).items():
            parts = zip(_COMPONENTS, text.split("^"), strict=False)
            element = SubElement(name, group)
            for component, part in parts:
                if part:
                    SubElement(element, component).text = _written(part)
    else:
        SubElement(parent, "Value", {"number": number}).text = "" if value is None else _written(str(value))


def _written(text: str) -> str:
    return _NO_CHARACTER.sub("\ufffd", text)
