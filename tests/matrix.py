#!/usr/bin/env python3
"""Shows which rows of the threat and fault tables have a test that carries their number, and fails if one of those
that must have none is missing. The rows are described in tests/README.md."""

import pathlib
import re
import sys

REQUIRED = (
    ["T2", "T20", "T21", "T22"]
    + [f"T{n}" for n in range(12, 18)]
    + [f"T{n}" for n in range(25, 34)]
    + [f"F{n}" for n in range(1, 16)]
    + [f"F{n}" for n in range(19, 36)]
    + ["F37", "F43", "F47"]
)

tests = pathlib.Path(__file__).parent
found: dict[str, list[str]] = {}


def note(row: str, where: pathlib.Path) -> None:
    found.setdefault(row, []).append(str(where.relative_to(tests)))


for path in sorted(tests.rglob("*_test.cpp")):
    for title in re.findall(r'TEST_CASE(?:_FIXTURE)?\([^"]*"([^"]*)"', path.read_text()):
        head = title.split(":")[0]
        if re.fullmatch(r"[TF]\d+(, ?[TF]\d+)*", head):
            for row in re.findall(r"[TF]\d+", head):
                note(row, path)
for path in sorted(tests.rglob("test_*.py")):
    for name in re.findall(r"def (test_\w+)\(", path.read_text()):
        for row in re.findall(r"(?<=_)([tTfF]\d+)(?=_|$)", name):
            note(row.upper(), path)


def order(row: str) -> tuple[str, int]:
    return row[0] == "F", int(row[1:])


for row in sorted(found, key=order):
    print(f"{row:4} {len(found[row]):3} tests: {', '.join(sorted(set(found[row])))}")
missing = sorted(set(REQUIRED) - set(found), key=order)
if missing:
    print("without a test:", ", ".join(missing))
print(f"{len(set(REQUIRED)) - len(missing)} passed, {len(missing)} failed")
sys.exit(bool(missing))
