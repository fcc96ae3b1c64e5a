"""The table of docs/sdks.md, from what came out."""

import pathlib
import re

import clients
from scenarios import LIFE, STS_REASON

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "sdks.md"
BEGIN, END = "<!-- written by tests/sdks -->\n", "<!-- until here -->\n"
ENDPOINTS = {"container": "container", "imds": "IMDSv2"}


def count(number, what):
    return f"{number} {what}" if number == 1 else f"{number} {'tries' if what == 'try' else what + 's'}"


def first_fetch(fresh):
    return count(fresh.requests, "request") + (", each time" if fresh.more else "")


def refresh(life):
    if life.left > LIFE / 3:
        when = "as soon as credlet has new ones"
    else:
        when = f"≈ {life.left:.0f} s before they expire" if life.left > 3 else "when they expire"
    return when + (f"; {count(len(life.errors), 'call')} failed" if life.errors else "")


def denied(failure):
    shown = failure.without_node or failure
    reason = "shows STS's reason" if STS_REASON in shown.error else "does not say why"
    told = f"{reason}; {count(shown.tries, 'try')}"
    if failure.asked_node:
        return f"**uses the node's role**; with `AWS_EC2_METADATA_DISABLED=true`: {told}"
    return told + later(failure)


def down(failure):
    gives_up = f"gives up after ≈ {failure.seconds:.0f} s"
    meanwhile = "STS back meanwhile: succeeds" if failure.retried else "no second try"
    return f"{gives_up}; {meanwhile}{later(failure)}"


def later(failure):
    return "" if failure.recovered else "; needs a new client afterwards"


def proxy(fresh):
    return "ignored" if fresh.ignores_proxy else "needs `NO_PROXY`"


def table(found, versions):
    lines = ["| SDK | endpoint | first fetch | refresh | 403: the role denies | 503: STS is down | `HTTP_PROXY` |",
             "|---|---|---|---|---|---|---|"]
    for sdk, title in clients.NAMES.items():
        for endpoint, called in ENDPOINTS.items():
            fresh, life, refused, outage = (found[sdk, endpoint, what] for what in ("fresh", "life", "denied", "down"))
            lines.append(f"| {title} {versions[sdk]} | {called} | {first_fetch(fresh)} | {refresh(life)} | {denied(refused)} | "
                         f"{down(outage)} | {proxy(fresh)} |")
    return "\n".join(lines) + "\n"


def committed():
    return PAGE.read_text().split(BEGIN)[1].split(END)[0]


def write(new):
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + new + END + rest.split(END)[1])


def outcomes(text):
    """The lines without what differs from run to run."""
    return re.sub(r"≈ \d+", "≈", text).splitlines()
