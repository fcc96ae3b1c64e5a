"""docs/dashboard.md says what the shipped files say."""

import re

import page
import pytest
import shipped
import yaml


@pytest.fixture(scope="module", autouse=True)
def up_to_date(request):
    if request.config.getoption("--write-docs"):
        page.put(page.ALERTS, page.render_alerts())


def text():
    return shipped.PAGE.read_text(encoding="utf-8")


def test_the_alerts_are_those_that_are_shipped():
    assert page.part_of(text(), page.ALERTS) == page.render_alerts(), "run the tests with --write-docs"


def test_every_query_of_the_dashboard_has_its_result():
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \| (\d+) \| ", page.part_of(text(), page.RESULTS), re.M)
    assert [(title, query) for title, query, _ in rows] == \
        [(page.cell(title), page.cell(page.short(query))) for _, title, _, query in shipped.queries()], "run the tests with --write-docs"
    assert all(int(count) > 0 for *_, count in rows)


def test_the_scrape_configuration_is_one(promtool, tmp_path):
    config, = re.findall(r"```yaml\n(scrape_configs:\n.*?)```", text(), re.S)
    (tmp_path / "prometheus.yaml").write_text(config, encoding="utf-8")
    promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yaml")
    job, = yaml.safe_load(config)["scrape_configs"]
    assert job["job_name"] == "credlet"
    assert {"namespace", "pod", "node"} <= {rule.get("target_label") for rule in job["relabel_configs"]}
