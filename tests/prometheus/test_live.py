"""A real Prometheus scrapes credlet and evaluates the chart's own rules, sixty times as fast, while faults.py breaks one
thing on each node: every alert fires where its fault is and nowhere else, and is over when the fault is; every query of
the dashboard returns what it is meant to show."""

import time

import pytest
import shipped
from faults import FAULTS
from page import write_results
from server import Prometheus
from simulator import Simulator, stop_all, wait_until
from stage import Machine, Node

FIRES_WITHIN, OVER_WITHIN = 80, 80  # seconds; in both, the slowest alert takes half a minute


class Drill:
    """One run of all faults together, and what Prometheus made of it."""

    def __init__(self, prometheus, nodes):
        self.prometheus, self.nodes = prometheus, nodes
        self.before = set()  # what fired while all was well
        self.fired = {}  # {(node's name or None, name of the alert): the alert, as it first fired}
        self.left = {}  # what still fired long after all was mended
        self.shown = {}  # {(panel, reference): [(labels, values)]}

    def firing(self):
        names = {node.instance: name for name, node in self.nodes.items()}
        found = {}
        for alert in self.prometheus.alerts():
            if alert["state"] == "firing":
                where = names.get(alert["labels"].get("instance"))
                found[where, alert["labels"]["alertname"]] = alert
        for key, alert in found.items():
            self.fired.setdefault(key, alert)
        return found

    def missing(self):
        self.firing()
        return {(f.__name__, name) for f in FAULTS for name in f.fires} - set(self.fired)

    def run(self, steps):
        advance(steps)
        # Before anything is scraped there is nothing, and that is an alert: it has fired while the nodes were prepared.
        wait_until(lambda: self.firing() and (None, "CredletAbsent") in self.fired, 30, "CredletAbsent")
        self.prometheus.publish()
        began = time.time()
        wait_until(lambda: len([v for _, v in self.prometheus.query("up") if v]) == len(self.prometheus.targets), 15,
                   "a scrape of all nodes")
        wait_until(lambda: not self.firing(), 30, "the end of CredletAbsent")
        self.before = set(self.fired)
        advance(steps)
        try:
            wait_until(lambda: not self.missing(), FIRES_WITHIN, "all alerts", 0.3)
        except AssertionError:
            pass  # each alert has a test of its own, which says what is wrong
        now = time.time()
        for _, panel, reference, query in shipped.queries():
            query = shipped.as_grafana_would(query, "4s")
            self.shown[panel, reference] = self.prometheus.query_range(query, began, now)
        advance(reversed(steps))
        try:
            wait_until(lambda: not self.firing(), OVER_WITHIN, "the end of all alerts", 0.3)
        except AssertionError:
            pass  # likewise
        self.left = self.firing()


def advance(steps):
    for step in steps:
        next(step, None)


@pytest.fixture(scope="module")
def drill(programs, tmp_path_factory):
    started = []
    try:
        rules = shipped.faster(shipped.ALERTS_FILE.read_text(encoding="utf-8"))
        prometheus = Prometheus(programs, tmp_path_factory.mktemp("prometheus"), rules)
        started.append(prometheus)
        worlds = {}
        for name in sorted({fault.world for fault in FAULTS}):
            # A quiet watch is heard of each second, where a minute takes one.
            worlds[name] = Simulator(tmp_path_factory.mktemp(name), {"settings": {"bookmark_seconds": 1.0}})
            started.insert(0, worlds[name])
        machine = Machine()
        started.insert(0, machine)
        directory = tmp_path_factory.mktemp("tokens")
        nodes = {fault.__name__: Node(fault.__name__.replace("_", "-"), worlds[fault.world], prometheus, directory,
                                      fault.plain, machine) for fault in FAULTS}
        for node in nodes.values():
            started.insert(0, node)
        done = Drill(prometheus, nodes)
        done.run([fault(nodes[fault.__name__]) for fault in FAULTS])
        yield done
    finally:
        stop_all(started)


def test_nothing_fires_while_all_is_well(drill):
    assert drill.before == {(None, "CredletAbsent")}


def test_each_fault_sets_off_its_alerts_and_no_others(drill):
    for fault in FAULTS:
        there = {alert for where, alert in drill.fired if where == fault.__name__}
        assert fault.fires <= there <= fault.fires | fault.follows, fault.__name__
    assert {alert for where, alert in drill.fired if where is None} == {"CredletAbsent"}


@pytest.mark.parametrize("name", shipped.alerts())
def test_an_alert_fires_where_its_fault_is_and_is_over_with_it(drill, name):
    places = [fault for fault in FAULTS if name in fault.fires]
    if name == "CredletAbsent":
        assert (None, name) in drill.fired
    else:
        assert places, "no fault in faults.py sets this alert off"
    for fault in places:
        assert (fault.__name__, name) in drill.fired, f"{fault.__name__} did not set it off"
        alert, node = drill.fired[fault.__name__, name], drill.nodes[fault.__name__]
        where = node.instance if fault.plain else node.name
        assert where in alert["annotations"]["summary"] + alert["annotations"]["description"]
        assert fault.plain or alert["labels"]["pod"] == f"credlet-{node.name}"
        for text in alert["annotations"].values():
            assert "<no value>" not in text and "error expanding template" not in text and "NaN" not in text
    assert [where for where, left in drill.left if left == name] == []


def test_whatever_went_on_in_the_background_went_well(drill):
    assert {name: node.errors for name, node in drill.nodes.items() if node.errors} == {}


def test_prometheus_evaluates_every_rule(drill):
    rules = drill.prometheus.rules()
    assert {rule["name"] for rule in rules} == set(shipped.alerts())
    assert all(rule["health"] == "ok" for rule in rules), rules


@pytest.mark.parametrize("panel, reference", [(panel, reference) for _, panel, reference, _ in shipped.queries()])
def test_a_query_of_the_dashboard_shows_what_happens(drill, panel, reference):
    shown = drill.shown[panel, reference]
    assert shown, "no series"
    assert any(value != 0 for _, values in shown for value in values), "nothing but zero, whatever happened"


def test_promtool_accepts_what_is_exposed(drill, promtool):
    for name in ("nothing", "token_requests_are_forbidden"):
        daemon = drill.nodes[name].daemon
        exposed = daemon.get("/metrics", where=daemon.listeners["metrics"][0])
        assert exposed.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert promtool("check", "metrics", "--lint=all", input=exposed.body.decode()) == ""


def test_the_variables_of_the_dashboard_select(drill):
    """One node chosen, then two: only these are there."""
    names = [drill.nodes[name].name for name in ("nothing", "sts_is_slow")]
    for chosen in (names[:1], names):
        query = shipped.as_grafana_would('sum by (node) (credlet_pods{namespace=~"$namespace", node=~"$node"})', "4s",
                                         node=chosen, namespace=["credlet"])
        assert {labels["node"] for labels, _ in drill.prometheus.query(query)} == set(chosen)


def test_the_results_go_into_the_page(drill, request):
    if request.config.getoption("--write-docs"):
        write_results(drill.shown)
