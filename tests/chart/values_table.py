#!/usr/bin/env python3
"""The table of values in the chart's README.md, made from the comments of values.yaml, as helm-docs reads them: a
comment that begins with `# --` describes the key below it. Usage: values_table.py [--write]"""

import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parents[2] / "charts" / "credlet"
BEGIN, END = "<!-- values: made by tests/chart/values_table.py --write -->\n", "<!-- end of values -->\n"
KEY = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):")


def described(text):
    """(path, description) for each key that has one, in the file's order."""
    path, comment = [], None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# --"):
            comment = [stripped[4:].strip()]
        elif stripped.startswith("#") and comment is not None:
            comment.append(stripped[1:].strip())
        elif key := KEY.match(line):
            path = path[:len(key[1]) // 2] + [key[2]]
            if comment is not None:
                yield tuple(path), " ".join(comment)
            comment = None
        else:
            comment = None


def at(values, path):
    for key in path:
        values = values[key]
    return values


def table():
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    rows = ["| value | default | |", "|---|---|---|"]
    for path, description in described(text):
        default = json.dumps(at(values, path), separators=(",", ":"))
        rows.append(f"| `{'.'.join(path)}` | `{default}` | {description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def readme_with(table_text):
    text = (CHART / "README.md").read_text()
    before, rest = text.split(BEGIN)
    return before + BEGIN + table_text + END + rest.split(END)[1]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        (CHART / "README.md").write_text(readme_with(table()))
    else:
        print(table(), end="")
