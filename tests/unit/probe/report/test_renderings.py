"""Renderings of one record: table, JUnit XML, Markdown."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from netlab.cli.connectivity import report
from netlab.probe.judge.verdict import Result
from netlab.probe.plan import fake
from netlab.probe.report import record as run_record
from netlab.probe.report.annotations import annotate
from netlab.probe.report.junit import junit
from netlab.probe.report.markdown import MOST_BYTES, markdown

HOP = {"where": "node1 eth0", "direction": "out", "packet": "SYN", "source": "10.244.1.2:4", "destination": "10.244.2.2:80",
       "outer": {"source": "172.30.1.1", "destination": "172.30.1.2", "port": 8472, "vni": 1}}  # fmt: skip


def check(path, target, verdict="pass", actual="ALLOWED", reasons=()):
    return {"id": f"{path}/a->{target}/TCP", "path": path,
            "source": "a", "target": target, "protocol": "TCP", "expected": ["ALLOWED"],
            "actual": actual, "verdict": verdict,
            "reasons": list(reasons), "milliseconds": 1.5, "action": "TCP to x"}  # fmt: skip


def record(*checks):
    totals = {word: sum(c["verdict"] == word for c in checks) for word in ("pass", "fail", "not tested")}
    return {"schema": "netlab.connectivity/v1", "lab": "test", "time": "2026-01-01",
            "seconds": 0.5, "totals": totals,
            "environment": {"kernel": "6.1"}, "plan": [{"path": "pod-node", "chosen": 2, "possible": 9}],
            "skipped": [],
            "remarks": ["Service default/a: why"],
            "machine": ["the table overflowed"],
            "captures": {"missing": {}, "lost": {"node1": 3}},
            "changed": {"repeated": 2, "dropped": ["a"]}, "checks": list(checks),
            "evidence": {c["id"]: [HOP] for c in checks if c["verdict"] == "fail"}}  # fmt: skip


GOOD = check("pod-pod", "b")
BAD = check("hairpin", "<web>", "fail", "DROPPED", ["expected ALLOWED, got DROPPED | \x00odd"])
ALIKE = check("hairpin", "other", "fail", "DROPPED", BAD["reasons"])
BROKEN = check("pod-pod", "c", "not tested", "NOT_TESTED", ["no namespace"])


def as_text(rendered):
    console = Console(file=io.StringIO(), width=200, force_terminal=False)  # whatever FORCE_COLOR says
    console.print(rendered)
    return console.file.getvalue()


def test_junit_counts():
    """A testsuite per class; a failure is typed with its outcome, what was not tested is an error."""
    root = ET.fromstring(junit(record(GOOD, BAD, BROKEN)))
    suites = {s.get("name"): (s.get("tests"), s.get("failures"), s.get("errors")) for s in root.iter("testsuite")}

    assert {"pod-pod": ("2", "0", "1"), "hairpin": ("1", "1", "0")} == suites
    assert ["DROPPED"] == [f.get("type") for f in root.iter("failure")]
    assert ["NOT_TESTED"] == [e.get("type") for e in root.iter("error")]


def test_junit_of_nothing():
    """A run without checks still gives a valid document."""
    assert "0" == ET.fromstring(junit(record())).get("tests")


def test_table_collapses_equal_rows():
    """Failures come first, equal ones in one row with all their targets."""
    text = as_text(report(record(GOOD, BAD, ALIKE)))

    assert text.index("Failed") < text.index("Paths")
    assert 1 == text.count("expected ALLOWED, got DROPPED")
    assert "a -> <web>/TCP" in text
    assert "a -> other/TCP" in text


def test_table_says_what_limits_it():
    """Pairs left out, packets lost and objects that changed during the test are named."""
    text = as_text(report(record(GOOD)))

    assert "2 checks were run again, 1 dropped" in text

    assert "pod-node: 2 of 9" in text
    assert "node1 lost 3 packets" in text
    assert "Service default/a: why" in text
    assert "the table overflowed" in text


@pytest.mark.parametrize(
    ("checks", "has_failed", "has_tested"),
    [((), False, False), ((GOOD,), False, True), ((BAD,), True, True), ((BROKEN,), False, False)],
)
def test_failed_and_tested(checks, has_failed, has_tested):
    """What could not be tested is neither a failure nor a test."""
    assert (has_failed, has_tested) == (run_record.failed(record(*checks)), run_record.tested_anything(record(*checks)))


def test_markdown_escapes():
    """Names and reasons break neither tables nor HTML; the packet's way is shown."""
    text = markdown(record(GOOD, BAD))

    assert "&lt;web&gt;" in text
    assert "in VXLAN 172.30.1.1 > 172.30.1.2:8472 VNI 1" in text


def test_markdown_stays_below_the_limit():
    """Too many failures are cut with a count, well below what GitHub takes."""
    many = [check("hairpin", str(i), "fail", "DROPPED", [f"{i} " + "ü" * 2000]) for i in range(400)]
    text = markdown(record(*many))

    assert len(text.encode()) <= MOST_BYTES
    assert "more are not shown here" in text


def test_a_record_without_checks_has_all_keys():
    """A test that could not begin has the record of a test without checks, and the error."""
    made = run_record.make(fake.snapshot(fake.cluster()), [], run_record.Circumstances(only="hairpin"))
    untestable = run_record.untestable("test", "no API server", "hairpin")
    error = untestable.pop("error")

    assert "no API server" == error
    assert list(made) == list(untestable)
    assert made["totals"] == untestable["totals"] == {result.value: 0 for result in Result}


def test_annotations():
    """A failure is an error, what could not be tested a warning; commas, colons, percent signs and ends of lines are escaped."""
    odd = check("a,b:c", "d", "fail", "DROPPED", ["50% lost\r\n::error::forged"])

    assert [
        "::error title=DROPPED%3A a%2Cb%3Ac::a -> d/TCP%0A50%25 lost%0D%0A::error::forged",
        "::warning title=NOT_TESTED%3A pod-pod::a -> c/TCP%0Ano namespace",
    ] == annotate(record(GOOD, BROKEN, odd))


@pytest.mark.parametrize(("failures", "lines"), [(0, 0), (1, 1), (9, 9), (10, 10), (500, 10)])
def test_annotations_stay_below_the_limit(failures, lines):
    """GitHub shows ten of a kind: nine failures are told, and how many more there are."""
    told = annotate(record(*(check(f"path-{i}", "b", "fail", "DROPPED", ["x"]) for i in range(failures))))

    assert lines == len(told)
    assert (failures > 9) == (f"::and {failures - 9} more" in "".join(told))


def test_equal_failures_are_one_annotation():
    """Many pairs of one path that fail alike do not use up the annotations."""
    told = annotate(record(*(check("hairpin", str(i), "fail", "DROPPED", ["x"]) for i in range(40))))

    assert 1 == len(told)
    assert "and 37 more" in told[0]


@pytest.mark.parametrize("rendering", [lambda r: as_text(report(r)), markdown], ids=["table", "markdown"])
def test_what_may_be_wrong_is_told_once(rendering):
    """One fault breaks many paths: every hint of what did not pass is counted, the one that explains most comes first."""
    hints = [["b is down"], ["a is down"], ["a is down"], []]
    checks = [{**check(f"path-{i}", "b", "fail", "DROPPED", ["x"]), "hints": found} for i, found in enumerate(hints)]
    text = rendering(record(GOOD, *checks))

    lines = [line.strip("- *").replace("**", "") for line in text.splitlines() if " is down (" in line]
    assert ["a is down (2 checks)", "b is down (1 check)"] == lines
    assert "Likely causes" not in as_text(report(record(GOOD, BAD)))
