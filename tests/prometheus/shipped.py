"""What the chart ships for Prometheus and Grafana, as they would take it."""

import json
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALERTS_FILE = ROOT / "charts" / "credlet" / "files" / "alerts.yaml"
DASHBOARD_FILE = ROOT / "charts" / "credlet" / "files" / "dashboard.json"
PAGE = ROOT / "docs" / "dashboard.md"

SECONDS = {"s": 1, "m": 60, "h": 3600}
TIMES_FASTER = 60


def alerts():
    """All alerting rules, by name."""
    groups = yaml.safe_load(ALERTS_FILE.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules), "two alerts have one name"
    return {rule["alert"]: rule for rule in rules}


def faster(rules_text):
    """The very same rules where a minute takes a second: windows, `for`, and seconds that are written as N * 60.
    Nothing else changes."""
    def seconds(match):
        number, unit = match[2], match[3]
        shortened = int(number) * SECONDS[unit] / TIMES_FASTER
        assert shortened == int(shortened) >= 1, f"{match[0]} is no whole number of minutes"
        return f"{match[1]}{int(shortened)}s"
    text = re.sub(r"(\[|for: )(\d+)([smh])\b", seconds, rules_text)
    return re.sub(r"\b(\d+) \* 60\b", r"\1 * 1", text)


def dashboard():
    return json.loads(DASHBOARD_FILE.read_text(encoding="utf-8"))


def panels():
    """Those that show something, with the row that each is in."""
    row = None
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            assert not panel["panels"], "a collapsed row hides its panels from this test"
        else:
            yield row, panel


def queries():
    """[(row, title of the panel, reference in it, query)]"""
    return [(row, panel["title"], target["refId"], target["expr"]) for row, panel in panels()
            for target in panel["targets"]]


def as_grafana_would(query, rate_interval, **variables):
    """The query with its variables in place: All is their allValue; what is chosen is escaped, and several values are an
    alternation."""
    values = {v["name"]: v["allValue"] for v in dashboard()["templating"]["list"] if v.get("includeAll")}
    for name, chosen in variables.items():
        assert name in values, f"the dashboard has no variable {name}"
        escaped = [re.sub(r"([\\^$*+?.()|{}\[\]])", r"\\\\\1", value) for value in chosen]
        values[name] = escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
    values["__rate_interval"] = rate_interval
    return re.sub(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", lambda m: values[m[1] or m[2]], query)
