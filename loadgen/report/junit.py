"""Formats verdicts as JUnit's XML, which CI servers show as tests."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from loadgen.report.reading import Collection
from loadgen.results.cells import Run
from model_containers.printable import printable_line

Kind = Literal["passed", "failure", "error", "skipped"]


class Case(NamedTuple):
    """A test case.

    Attributes:
        group: the class that it is shown in.
        name: of the test.
        kind: how it ended; an error is undecided.
        text: what was found.
    """

    group: str
    name: str
    kind: Kind
    text: str


def suite(name: str, cases: Iterable[Case]) -> str:
    """The XML of test cases.

    Args:
        name: of the suite.
        cases: in the order in which they are shown.
    """
    cases = list(cases)
    kinds = [case.kind for case in cases]
    counts = {"tests": len(kinds), "failures": kinds.count("failure")}
    counts |= {"errors": kinds.count("error"), "skipped": kinds.count("skipped")}
    root = ET.Element("testsuite", {"name": name, **{key: str(count) for key, count in counts.items()}})
    for case in cases:
        element = ET.SubElement(root, "testcase", classname=printable_line(case.group), name=printable_line(case.name))
        if case.kind == "passed":
            ET.SubElement(element, "system-out").text = printable_line(case.text)
        else:
            ET.SubElement(element, case.kind, message=printable_line(case.text))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def decided(outcome: bool | None) -> Kind:
    """The kind of a case that holds, does not hold, or is undecided.

    Args:
        outcome: it holds; None where it is undecided.
    """
    return "error" if outcome is None else "passed" if outcome else "failure"


def of_runs(collection: Collection, allow_invalid: bool = False) -> Iterator[Case]:
    """A case for each run that ended as asked, for each condition, and for each check of its certificate.

    Args:
        collection: the runs.
        allow_invalid: checks that failed are skipped.
    """
    for cell in collection.cells:
        for run in (*cell.runs, *cell.anchors):
            group = f"loadgen.{cell.name}"
            if len(cell.runs) > 1 or run.anchor:
                group += f".{'anchor' if run.anchor else 'repeat'}-{run.repeat}"
            yield from _of_run(run, group, "skipped" if allow_invalid else "failure")
    for missing in collection.missing:
        yield Case(f"loadgen.{missing.cell}", "measured", "error", missing.reason)


def _of_run(run: Run, group: str, invalid: Kind) -> Iterator[Case]:
    results = run.results
    yield Case(group, "ended as asked", decided(results.error is None), results.error or str(results.ended))
    for threshold in results.thresholds or ():
        held = None if threshold.crossed is None else not threshold.crossed
        yield Case(group, f"not {threshold.condition}", decided(held), threshold.found)
    kinds: dict[str, Kind] = {"passed": "passed", "noted": "passed", "failed": invalid}
    for check in results.certificate:
        text = f"{check.measured}, limit {check.limit}"
        text += f": {check.remedy}" if check.verdict == "failed" else ""
        yield Case(group, check.name, kinds.get(check.verdict, "skipped"), text)
