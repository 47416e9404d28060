"""The record as JUnit XML: a testsuite per path class; `failure` carries the outcome's word, `error` is "not tested"."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from netlab.api.resources import Json
from netlab.probe.judge.verdict import Result

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2 Char


def junit(record: Json) -> str:
    """Return the XML text. An empty record gives an empty, valid document, so that a file can always be written.

    A test that could not begin is one testcase in error, so that the file does not count as a pass.
    """
    root = ET.Element("testsuites", name=f"netlab {record['lab']}", time=f"{record['seconds']:.3f}")
    suites: dict[str, ET.Element] = {}
    if error := record.get("error"):
        begun = suites["connectivity"] = ET.SubElement(root, "testsuite", name="connectivity", timestamp=record["time"])
        case = ET.SubElement(begun, "testcase", name="connectivity", classname=record["lab"], time="0")
        ET.SubElement(case, "error", type="CannotTest", message=clean(error)).text = clean(error)
    for check in record["checks"]:
        suite = suites.get(check["path"])
        if suite is None:
            suite = suites[check["path"]] = ET.SubElement(root, "testsuite", name=check["path"], timestamp=record["time"])
            _properties(suite, record)
        _case(suite, record, check)
    for element in (root, *suites.values()):
        _count(element)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _properties(suite: ET.Element, record: Json) -> None:
    properties = ET.SubElement(suite, "properties")
    for name, value in {"lab": record["lab"], "schema": record["schema"], **record["environment"]}.items():
        ET.SubElement(properties, "property", name=name, value=clean(str(value)))


def _case(suite: ET.Element, record: Json, check: Json) -> None:
    seconds = f"{check.get('milliseconds', 0) / 1000:.4f}"
    case = ET.SubElement(suite, "testcase", name=clean(check["id"]), classname=f"{record['lab']}.{check['path']}", time=seconds)
    reasons = check.get("reasons", [])
    message = clean(reasons[0] if reasons else check["actual"])
    body = clean("\n".join([check.get("action", ""), *reasons, *check.get("hints", []), *_way(record, check)]))
    if check["verdict"] == Result.FAILED.value:
        ET.SubElement(case, "failure", type=check["actual"], message=message).text = body
    elif check["verdict"] == Result.NOT_TESTED.value:
        ET.SubElement(case, "error", type=check["actual"], message=message).text = body


def _way(record: Json, check: Json) -> list[str]:
    hops = record["evidence"].get(check["id"], [])
    return [f"{h['where']} {h['direction']}: {h['packet']} {h['source']} > {h['destination']}" for h in hops]


def _count(element: ET.Element) -> None:
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        element.set(attribute, str(sum(1 for _ in element.iter(tag))))


def clean(text: str) -> str:
    """Return text without characters that XML cannot hold."""
    return NOT_XML.sub("\ufffd", text)
