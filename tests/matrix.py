#!/usr/bin/env python3
"""Shows which rows of the threat and fault tables have a test that carries their number, and fails if one of those
that must have none is missing. The rows are described in tests/README.md.

What counts is a test that ran and passed, by what the last ./test.sh left: JUnit files of pytest in build/logs; of the
unit tests, the cases that their programs in build/release/tests have, where ctest's log says that the program passed.
Where nothing has run yet, the sources have to do: tests that are commented out or marked as skipped do not count."""

import ast
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

REQUIRED = (
    ["T2", "T20", "T21", "T22"]
    + [f"T{n}" for n in range(12, 18)]
    + [f"T{n}" for n in range(25, 34)]
    + [f"F{n}" for n in range(1, 16)]
    + [f"F{n}" for n in range(19, 36)]
    + ["F37", "F43", "F44", "F47"]
)

tests = pathlib.Path(__file__).resolve().parent
build = tests.parent / "build"
logs = pathlib.Path(os.environ.get("CREDLET_LOGS", build / "logs"))
found: dict[str, list[str]] = {}


def note(row: str, where: str) -> None:
    found.setdefault(row, []).append(where)


def note_case(title: str, where: str) -> None:
    """A unit test: `T1, F2: what holds`."""
    head = title.split(":")[0]
    if re.fullmatch(r"[TF]\d+(, ?[TF]\d+)*", head):
        for row in re.findall(r"[TF]\d+", head):
            note(row, where)


def note_function(name: str, where: str) -> None:
    """A test of pytest's: `test_T1_F2_what_holds`."""
    for row in re.findall(r"(?<=_)([TF]\d+)(?=_|$)", name):
        note(row, where)


def passed_programs() -> dict[str, pathlib.Path]:
    """The unit test programs that the last run of ctest says have passed, by floor."""
    log = logs / "unit.log"
    results = re.findall(r"Test\s+#\d+: (\w+) \.+\s+Passed", log.read_text(errors="replace")) if log.exists() else []
    programs = {floor: build / "release" / "tests" / f"{floor}_tests" for floor in results}
    return {floor: program for floor, program in programs.items() if program.exists()}


def from_programs(programs: dict[str, pathlib.Path]) -> None:
    for floor, program in programs.items():
        listed = subprocess.run([program, "--list-test-cases"], check=True, capture_output=True, text=True).stdout
        for title in listed.splitlines():
            note_case(title, f"{floor}_tests")


def from_unit_sources() -> None:
    comments = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
    strings_and_comments = re.compile(r'"(?:[^"\\\n]|\\.)*"|' + comments.pattern, re.DOTALL)
    for path in sorted(tests.rglob("*_test.cpp")):
        text = strings_and_comments.sub(lambda m: m[0] if m[0].startswith('"') else "", path.read_text())
        for case in re.finditer(r'TEST_CASE(?:_FIXTURE)?\(\s*(?:\w+,\s*)?((?:\s*"(?:[^"\\]|\\.)*")+)([^{]*)', text):
            if "doctest::skip" not in case[2]:
                note_case("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', case[1])), str(path.relative_to(tests)))


def from_junit(files: list[pathlib.Path]) -> None:
    for file in files:
        for case in xml.parse(file).iter("testcase"):
            if not any(case.find(outcome) is not None for outcome in ("failure", "error", "skipped")):
                note_function(case.get("name").split("[")[0], case.get("classname").replace(".", "/") + ".py")


def from_python_sources() -> None:
    for path in sorted(tests.rglob("test_*.py")):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and not any("skip" in ast.unparse(d) for d in function.decorator_list):
                note_function(function.name, str(path.relative_to(tests)))


programs = passed_programs()
from_programs(programs) if programs else from_unit_sources()
junit = sorted(logs.glob("*.xml"))
from_junit(junit) if junit else from_python_sources()


def order(row: str) -> tuple[str, int]:
    return row[0] == "F", int(row[1:])


print(f"unit tests by {'what ran' if programs else 'their sources'}, others by {'what ran' if junit else 'their sources'}")
for row in sorted(found, key=order):
    print(f"{row:4} {len(found[row]):3} tests: {', '.join(sorted(set(found[row])))}")
missing = sorted(set(REQUIRED) - set(found), key=order)
if missing:
    print("without a test:", ", ".join(missing))
print(f"{len(set(REQUIRED)) - len(missing)} passed, {len(missing)} failed")
sys.exit(bool(missing))
