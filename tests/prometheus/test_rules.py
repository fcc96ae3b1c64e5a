"""The files that the chart ships, before anything runs."""

import re

import pytest
import shipped
import yaml

UNITS = {"short", "s", "percentunit", "reqps", "ops", "bytes", "cps"}
HERE = shipped.ROOT / "tests" / "prometheus"
METRICS_IN_README = set(re.findall(r"`((?:credlet|process)_\w+)`", (shipped.ROOT / "README.md").read_text(encoding="utf-8")))


def test_promtool_accepts_the_rules(promtool):
    assert f"{len(shipped.alerts())} rules found" in promtool("check", "rules", "--lint-fatal", shipped.ALERTS_FILE)


def test_the_unit_tests_of_the_rules_pass(promtool):
    promtool("test", "rules", HERE / "alerts_test.yaml")


def unit_tested():
    """[(alert, whether it is to fire)] of the unit tests."""
    tests = yaml.safe_load((HERE / "alerts_test.yaml").read_text(encoding="utf-8"))["tests"]
    silent = [(one["alertname"], bool(one.get("exp_alerts"))) for test in tests for one in test.get("alert_rule_test", [])]
    series = [(re.search('alertname="(\\w+)"', one["expr"])[1], bool(one["exp_samples"]))
              for test in tests for one in test.get("promql_expr_test", [])]
    return silent + series


@pytest.mark.parametrize("name", shipped.alerts())
def test_an_alert_has_unit_tests_that_it_fires_and_that_it_does_not(name):
    assert {fires for tested, fires in unit_tested() if tested == name} == {True, False}


@pytest.mark.parametrize("name", shipped.alerts())
def test_an_alert_says_what_is_the_matter_and_what_to_do(name):
    rule = shipped.alerts()[name]
    assert name.startswith("Credlet") and rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert shipped.SECONDS[rule["for"][-1]] * int(rule["for"][:-1]) >= 60, "it would fire at the first sample"
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    assert name == "CredletAbsent" or "$labels.node $labels.instance" in notes["summary"] + notes["description"]
    assert len(notes["summary"]) < 120 < len(notes["description"]) and len(notes["runbook"]) > 60


def test_what_the_runbooks_quote_from_the_log_is_what_the_daemon_writes():
    sources = "".join(path.read_text(encoding="utf-8") for folder in ("sts", "metadata", "daemon", "runtime")
                      for path in (shipped.ROOT / folder).rglob("*.cpp"))
    quoted = [text for rule in shipped.alerts().values() for text in re.findall(r"says '([^']+)'", rule["annotations"]["runbook"])]
    assert len(quoted) >= 4
    for text in quoted:
        assert f'"{text}' in sources, f"nothing logs: {text}"


def test_the_runbooks_name_panels_that_exist():
    titles = {panel["title"] for _, panel in shipped.panels()}
    named = {title for rule in shipped.alerts().values()
             for several in re.findall(r"panels? ('[^']+'(?:(?:,| and) '[^']+')*)", rule["annotations"]["runbook"])
             for title in re.findall("'([^']+)'", several)}
    assert len(named) >= 6 and named <= titles, named - titles


def test_every_metric_that_is_queried_is_in_the_readme():
    asked = {name for query in [rule["expr"] for rule in shipped.alerts().values()] + [q for *_, q in shipped.queries()]
             for name in re.findall(r"\bcredlet_\w+", query)}
    plain = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    assert plain <= METRICS_IN_README, plain - METRICS_IN_README
    assert METRICS_IN_README - {"process_"} <= plain | {name for name in METRICS_IN_README if name.startswith("process_")}, \
        "neither an alert nor a panel shows these"


def test_faster_rules_differ_in_times_only(promtool, tmp_path):
    text = shipped.ALERTS_FILE.read_text(encoding="utf-8")
    faster = shipped.faster(text)
    blank = r"(\[|for: )\d+[smh]|\b\d+ \* (60|1)\b(?! \*)"
    assert faster != text and re.sub(blank, "", faster) == re.sub(blank, "", text)
    assert not re.search(r"\[\d+[mh]\]|for: \d+[mh]", faster)
    (tmp_path / "rules.yaml").write_text(faster, encoding="utf-8")
    promtool("check", "rules", tmp_path / "rules.yaml")


# The dashboard

def test_the_dashboard_can_be_imported_anywhere():
    board = shipped.dashboard()
    assert board["uid"] == "credlet-overview" and board["schemaVersion"] == 42 and "id" not in board
    source, *chosen = board["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [(v["name"], v["allValue"]) for v in chosen] == [("namespace", ".*"), ("node", ".*")]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("title", [panel["title"] for _, panel in shipped.panels()])
def test_a_panel_explains_itself(title):
    (row, panel), = [(row, panel) for row, panel in shipped.panels() if panel["title"] == title]
    assert row in ("Health", "Requests and latency", "Credentials and expiry", "STS", "Tokens and watches", "Listeners in pods",
                   "Process")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS and len(panel["description"]) > 10
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        query = target["expr"]
        assert not re.search(r"\[\d+[smh]\]", query.replace("[1h]", "")), "a window that does not follow the zoom"
        if "ALERTS" not in query:
            assert query.count("$namespace") == query.count("$node") == len(re.findall(r"\b(?:credlet|process)_\w+\{|\bup\{", query))
    for alert in re.findall(r"Credlet[A-Z]\w+", panel["description"]):
        assert alert in shipped.alerts()


def test_panels_do_not_overlap():
    taken = set()
    for panel in shipped.dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, panel["title"]
                taken.add((x, y))
