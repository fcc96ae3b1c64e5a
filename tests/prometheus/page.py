"""The two parts of docs/dashboard.md that are not written by hand: what the alerts say, and what the dashboard's queries
returned in a run of test_live.py."""

import re

import shipped

ALERTS, RESULTS = "alerts", "results"


def marks(part):
    return f"<!-- {part}: begin, written by tests/prometheus -->\n", f"<!-- {part}: end -->\n"


def part_of(text, part):
    begin, end = marks(part)
    assert text.count(begin) == text.count(end) == 1, f"the page must have one part of {part}"
    return text.split(begin)[1].split(end)[0]


def put(part, new):
    text = shipped.PAGE.read_text(encoding="utf-8")
    begin, end = marks(part)
    old = part_of(text, part)
    shipped.PAGE.write_text(text.replace(begin + old + end, begin + new + end), encoding="utf-8")


def plain(template):
    """An annotation with words in place of its template."""
    text = re.sub(r"\{\{ or \$labels\.(?:exported_)?(\w+) \$labels\.\w+ \}\}", r"*\1*", template)
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"*\1*", text)
    text = re.sub(r"\{\{ \$value( \| \w+)? \}\}", "*so much*", text)
    assert "{{" not in text, f"no words for {text}"
    return text


def render_alerts():
    written = ["| alert | severity | after | |\n|---|---|---|---|\n"]
    for name, rule in shipped.alerts().items():
        written.append(f"| [{name}](#{name.lower()}) | {rule['labels']['severity']} | {rule['for']} | "
                       f"{plain(rule['annotations']['summary'])} |\n")
    written.append("\n")
    for name, rule in shipped.alerts().items():
        notes = rule["annotations"]
        written.append(f"### {name}\n\n{rule['labels']['severity']}, after {rule['for']}\n\n"
                       f"```promql\n{rule['expr']}\n```\n\n{plain(notes['description'])}\n\n"
                       f"**What to do.** {plain(notes['runbook'])}\n\n")
    return "\n" + "".join(written)


def short(query):
    """Without the selection of namespace and node, which every query has."""
    text = query.replace(', namespace=~"$namespace", node=~"$node"', "")
    return text.replace('{namespace=~"$namespace", node=~"$node"}', "")


def cell(text):
    return text.replace("|", "\\|")


def render_results(shown):
    """shown: {(panel, reference): [(labels, values)]}"""
    written, row_before = "", None
    for row, panel, reference, query in shipped.queries():
        if row != row_before:
            written += f"\n### {row}\n\n| panel | query | series | least | most | one of them, at the end |\n|---|---|---|---|---|---|\n"
        series = sorted(shown[panel, reference], key=lambda s: -abs(s[1][-1]))
        values = [value for _, one in series for value in one]
        labels = ", ".join(f"{k}={v}" for k, v in sorted(series[0][0].items()) if not k.startswith("__"))
        written += (f"| {cell(panel)} | `{cell(short(query))}` | {len(series)} | "
                    f"{min(values):.3g} | {max(values):.3g} | {cell(labels) + ': ' if labels else ''}{series[0][1][-1]:.3g} |\n")
        row_before = row
    return written + "\n"


def write_results(shown):
    put(RESULTS, render_results(shown))
