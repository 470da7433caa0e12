"""The web UI as a person uses it: real fleets, real Locust, a real browser."""

from __future__ import annotations

import csv
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from harness.domain.changes import ACTIONS
from harness.domain.population import VirtualKey
from harness.errors import EXIT_USAGE
from harness.observe.counters import Counters
from harness.process.sockets import free_port
from harness.scenario.loader import load_scenario
from harness.scenario.sizing import population
from harness.ui.sources import parse_metrics
from harness.ui.table import COLUMNS, LABELS
from tests.runs.support import Running, harness, started
from tests.ui.browser import PATIENCE_S, Person, person

pytestmark = pytest.mark.integration

VARIANTS = "litellm_1_84,recommended"
SCENARIO = "smoke"
MIX = "team=3,user=2,shared_id=4,member=4"
METRICS = (
    *("authcache_lookups_total", "authcache_source_reads_total"),
    *("authcache_log_records_total", "http_requests_total"),
)
Row = tuple[str, ...]
"""Metric, variant, replica and worker, then the labels of the CSV."""


@dataclass
class Ui:
    """A web UI that runs, with its fleets."""

    running: Running
    url: str
    environment: Mapping[str, str]

    def counters(self) -> Counter[Row]:
        """What every worker has counted, asked by ourselves."""
        found: Counter[Row] = Counter()
        for place, url in parse_metrics(self.environment["AUTHCACHE_METRICS"]):
            page = Counters.parse(httpx.get(url, trust_env=False).text)
            for (name, pairs), n in page.items():
                if name in METRICS:
                    labels = dict(pairs)
                    row = (place.fleet, str(place.replica), str(place.worker))
                    found[name, *row, *(labels.get(label, "") for label in LABELS)] += int(n)
        return found

    def state(self) -> str:
        """Of Locust's runner."""
        return str(httpx.get(f"{self.url}/stats/requests").json()["state"])

    def population(self) -> list[VirtualKey]:
        return population(load_scenario(SCENARIO))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(0, id="one process", marks=pytest.mark.long),
        pytest.param(2, id="master and 2 workers"),
    ],
)
def ui(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    port = free_port()
    options = (
        *("ui", "--scenario", SCENARIO, "--variants", VARIANTS, "--replicas", "2"),
        *("--port", str(port), "--locust-workers", str(request.param)),
    )
    with started(tmp_path_factory.mktemp("ui"), *options) as running:
        running.wait_for("the web UI", lambda: "Ctrl-C ends everything" in running.output())
        locust = running.find("locustfile.py")
        assert len(locust) == (1 + request.param if request.param else 1)
        face = next(p for p in locust if "--web-port" in p.cmdline())
        yield Ui(running, f"http://127.0.0.1:{port}", face.environ())


@pytest.fixture(scope="module")
def browser() -> Iterator[Person]:
    with person() as one:
        yield one


def open_form(browser: Person, ui: Ui) -> None:
    """Locust shows its form by itself only before the first test, later behind a button."""
    browser.page()
    browser.open(ui.url)
    if ui.state() != "ready":
        browser.press("New")
    browser.see('form [name="mix"]')


def start(browser: Person, ui: Ui, **fields: str) -> None:
    """Fill in the form and press Start, then open the tab."""
    open_form(browser, ui)
    values = {"userCount": "24", "spawnRate": "24", "arrivalRate": "60", "loadModel": "open"}
    browser.fill_in(**{**values, "mix": MIX, **fields})
    browser.press("Start")
    browser.press("Auth cache")
    browser.frame()


def stop(browser: Person) -> None:
    browser.page()
    browser.press("Stop")
    browser.frame()
    browser.until("rest", lambda: "at rest" in browser.see("#status").text)


def number(text: str) -> float:
    return float(text.partition("(")[0].replace(",", ""))


def figure(browser: Person, table: str, variant: str, scope: str) -> float:
    """One figure of the tab; 0 while it is not there yet."""
    head, *rows = browser.table(table) or [[]]
    for row in rows:
        if row[0] == variant and scope in head and row[head.index(scope)][:1].isdigit():
            return number(row[head.index(scope)])
    return 0.0


def download(browser: Person) -> list[dict[str, str]]:
    """Press the link and read what the browser saved."""
    for old in browser.downloads.iterdir():
        old.unlink()
    browser.press("Download CSV")

    def saved() -> list[Path]:
        return [p for p in browser.downloads.iterdir() if p.suffix == ".csv"]

    [path] = browser.until("the download", saved)
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == COLUMNS
        return list(reader)


def by_workers(rows: list[dict[str, str]]) -> Counter[Row]:
    return Counter(
        {
            (r["metric"], r["variant"], r["replica"], r["worker"], *(r[n] for n in LABELS)): int(
                r["value"]
            )
            for r in rows
            if r["source"] == "worker"
        }
    )


def test_before_the_first_load_the_page_says_so(ui: Ui, browser: Person) -> None:
    browser.open(f"{ui.url}/auth-cache")
    browser.until("the empty page", lambda: "No load yet" in browser.text())
    assert not browser.all("#problems li")
    assert httpx.get(f"{ui.url}/auth-cache/csv").text == ",".join(COLUMNS) + "\n"
    times = browser.script("return [0.4, 59.4, 59.7, 119.6, 3599.8].map(Chart.clock)")
    assert times == ["0 s", "59 s", "1:00", "2:00", "60:00"]
    rates = "[0, 1, 14, 359, 360, 18000, 35990, 720000].map(n => Chart.per1000(n, 360000))"
    shown = ["0", "<0.01", "0.04", "1.0", "1.0", "50.0", "100", "2,000"]
    assert browser.script(f"return {rates}") == shown


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arrivalRate": "-20"}, "Give a positive number"),
        ({"mix": "tema=1"}, "Did you mean [team]?"),
        ({"mix": "team=0,user=0"}, "The weight of scope [team] is [0]"),
    ],
)
def test_bad_input_is_shown_in_the_form_and_starts_nothing(
    ui: Ui, browser: Person, fields: dict[str, str], message: str
) -> None:
    before = ui.counters()
    open_form(browser, ui)
    browser.fill_in(**fields)
    browser.press("Start")
    browser.until("the message", lambda: message in browser.text())
    assert ui.state() == "ready"
    assert ui.counters() == before


def test_a_preset_fills_in_the_fields(ui: Ui, browser: Person) -> None:
    open_form(browser, ui)
    browser.fill_in(preset="issue-27874")
    shown = {
        name: browser.see(f'form [name="{name}"]').get_attribute("value")
        for name in ("mix", "arrivalRate")
    }
    load = load_scenario("issue-27874").load
    assert float(shown["arrivalRate"] or 0) == load.rate_per_s
    assert shown["mix"] == ",".join(f"{s}={w:g}" for s, w in load.mix.items())


def test_from_the_form_to_the_download(ui: Ui, browser: Person) -> None:
    before = ui.counters()
    start(browser, ui)
    browser.until("requests", lambda: figure(browser, "requests", "recommended", "all") > 20)
    earlier = figure(browser, "requests", "litellm_1_84", "all")
    listen(browser)
    watch(browser, "clock")
    browser.until("more", lambda: figure(browser, "requests", "litellm_1_84", "all") > earlier + 50)
    assert spoken(browser)["state"] == ["Load is running"], "the clock is not read aloud"
    browser.until("a line", lambda: browser.all("#chart-reads polyline.v0"))
    stop(browser)

    assert "Planted: " in browser.see("#note").text
    # a broken variant is visibly different
    assert figure(browser, "failures", "litellm_1_84", "team") > 1000
    assert figure(browser, "pairs", "litellm_1_84", "team") > 900
    assert figure(browser, "failures", "recommended", "all") == 0
    assert figure(browser, "reads", "litellm_1_84", "all") > 2 * figure(
        browser, "reads", "recommended", "all"
    )
    assert "Generator and replicas agree" in browser.see("#notes").text
    assert not browser.see("#replicas").find_elements("xpath", ".//td[contains(., 'not answer')]")

    rows = download(browser)
    counted = ui.counters()
    counted.subtract(before)
    assert by_workers(rows) == +counted
    check_rate(ui)
    answered = Counter[str]()
    for row in rows:
        if row["metric"] == "generator_answered":
            answered[row["variant"]] += int(row["value"])
    for variant in VARIANTS.split(","):
        assert answered[variant] == figure(browser, "requests", variant, "all") > 0
        chats = (
            int(r["value"])
            for r in rows
            if (r["metric"], r["variant"]) == ("http_requests_total", variant)
        )
        assert answered[variant] == sum(chats)
    check_no_secret(ui, browser)


def check_rate(ui: Ui) -> None:
    """The workers share the rate."""
    data = httpx.get(f"{ui.url}/auth-cache/data").json()
    assert data["drive"]["rate"] == data["generator"]["rate_per_s"] == 60
    assert data["generator"]["unanswered"] == {}


def check_no_secret(ui: Ui, browser: Person) -> None:
    """Neither what the browser got nor the logs name a key, a user or a team."""
    paths = ("/", "/auth-cache/data", "/auth-cache/csv")
    pages = [httpx.get(f"{ui.url}{path}").text for path in paths]
    pages += [log.read_text() for log in ui.running.runs_dir.glob("*/logs/locust*.log")]
    browser.page()
    pages.append(browser.driver.page_source)
    for key in ui.population():
        for secret in (key.secret, key.token, key.alias, key.user_id, key.team_id):
            assert not any(secret in page for page in pages if secret)


def test_a_second_start_counts_from_0_and_one_fleet_can_be_chosen(ui: Ui, browser: Person) -> None:
    before = ui.counters()
    start(browser, ui, fleet="recommended", mix="user=1")
    browser.until("requests", lambda: figure(browser, "requests", "recommended", "user") > 20)
    stop(browser)
    counted = ui.counters()
    counted.subtract(before)
    rows = download(browser)
    assert by_workers(rows) == +counted
    assert {row["variant"] for row in rows} == {"recommended"}
    assert {row["key_scope"] for row in rows if row["source"] == "generator"} == {"user"}


def test_the_closed_model_and_a_reset(ui: Ui, browser: Person) -> None:
    before = answers(ui)
    start(browser, ui, loadModel="closed", rate="4", userCount="16", mix="team=1,user=1")
    browser.until("requests", lambda: figure(browser, "requests", "recommended", "all") > 40)
    assert "Closed loop, 4 requests/s by each user" in browser.see("#drive").text
    earlier = data(ui)
    assert not earlier["cut"]
    browser.page()
    browser.press("Reset")
    browser.frame()
    browser.until("a new start", lambda: data(ui)["test"] != earlier["test"])
    browser.until("requests after it", lambda: data(ui)["generator"]["answered"] > 0)
    stop(browser)
    later = data(ui)
    assert later["cut"]
    # what the tab had shown before is in nothing that it shows now
    assert answers(ui) - before >= earlier["generator"]["answered"] + later["generator"]["answered"]
    browser.until(
        "the page's own figures",
        lambda: all(
            figure(browser, "requests", variant["name"], "all")
            == variant["scopes"]["all"]["requests"]
            for variant in later["variants"]
        ),
    )
    notes = browser.see("#notes").text
    assert "reset under load" in notes or "Generator and replicas agree" in notes


def test_a_change_shows_which_workers_still_serve_the_old_version(ui: Ui, browser: Person) -> None:
    """`/team/block` of 1.84 evicts nothing, and requests keep the old team alive."""
    browser.open(f"{ui.url}/auth-cache")
    browser.until("the form", lambda: len(browser.all("#change option")) > len(ACTIONS))
    browser.fill_in(action="team-block")
    browser.until("its scopes", lambda: "user" not in options(browser, "scope"))
    browser.fill_in(scope="member", handler="1")
    browser.press("Make change")
    browser.until("the grid", lambda: views(browser).keys() == {*VARIANTS.split(",")})
    browser.until(
        "the promise's end",
        lambda: (
            all("beyond the promise" in view for view in views(browser)["litellm_1_84"])
            and all(view.startswith("gone") for view in views(browser)["recommended"])
        ),
    )
    said = browser.see("#last-change").text.splitlines()
    assert [line.partition(":")[0] for line in said] == VARIANTS.split(",")
    assert "by replica 1" in said[0]
    assert "2 of 2 workers still serve the old version" in said[0]
    assert "0 of 2 workers still serve the old version" in said[1]
    listen(browser)
    watch(browser, "ago")
    assert re.fullmatch(r"Made (\d+ s|\d+:\d\d) ago\.", browser.see("#ago").text)
    assert "ago" not in "".join(spoken(browser)["last-change"])
    check_no_secret(ui, browser)


def listen(browser: Person) -> None:
    """Keep what a screen reader would read from now on, with what it has read last."""
    browser.script(
        "window.spoken = {};"
        "for (const one of document.querySelectorAll('[role=status], [role=alert]')) {"
        "  window.spoken[one.id] = [one.textContent];"
        "  new MutationObserver(() => window.spoken[one.id].push(one.textContent))"
        "    .observe(one, { childList: true, characterData: true, subtree: true });"
        "}"
    )


def spoken(browser: Person) -> dict[str, list[str]]:
    """The texts of each live region since `listen`; none was written twice in a row."""
    found: dict[str, list[str]] = browser.script("return window.spoken")
    for name, texts in found.items():
        assert all(one != other for one, other in pairwise(texts)), (name, texts)
    return found


def watch(browser: Person, name: str) -> None:
    """Wait until the text of an element, which changes by the second, has changed three times."""
    for _ in range(3):
        before = browser.see(f"#{name}").text
        browser.until(f"another {name}", lambda: browser.see(f"#{name}").text != before)  # noqa: B023


def options(browser: Person, name: str) -> list[str]:
    """What a field of the form for changes offers."""
    return [one.text for one in browser.all(f'#change [name="{name}"] option')]


def views(browser: Person) -> dict[str, list[str]]:
    """How each worker sees the changed team, by variant."""
    head, *rows = browser.table("workers") or [[]]
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row[head.index("team")])
    return found


def data(ui: Ui) -> dict[str, Any]:
    """The tab's numbers."""
    found: dict[str, Any] = httpx.get(f"{ui.url}/auth-cache/data", trust_env=False).json()
    return found


def answers(ui: Ui) -> int:
    """Requests that all replicas have completed."""
    return sum(n for row, n in ui.counters().items() if row[0] == "http_requests_total")


def test_a_replica_that_does_not_answer_is_named_and_the_rest_goes_on(
    ui: Ui, browser: Person
) -> None:
    # Two requests a second go to each replica, and each one to the suspended replica takes a user
    # away: the others must last until everything here was seen, on a slow machine too.
    start(browser, ui, arrivalRate="8", userCount="64", spawnRate="64")
    browser.until("requests", lambda: figure(browser, "requests", "recommended", "all") > 10)
    victim = replica_of(ui, "recommended")
    victim.suspend()
    try:
        browser.until("the problem", lambda: "does not answer" in browser.see("#problems").text)
        assert re.search(r"Replica \d of recommended, worker 0", browser.see("#problems").text)
        now = figure(browser, "requests", "litellm_1_84", "all")
        browser.until("the rest", lambda: figure(browser, "requests", "litellm_1_84", "all") > now)
    finally:
        victim.resume()
    browser.until("the end of it", lambda: not problems(browser))
    stop(browser)


def problems(browser: Person) -> list[str]:
    """What the tab warns of, but for a late generator."""
    texts = [item.text for item in browser.all("#problems li")]
    return [text for text in texts if "generator is late" not in text]


def replica_of(ui: Ui, variant: str) -> psutil.Process:
    """A process that serves a replica of a variant."""
    wanted = f'"variant": "{variant}"'
    return next(
        process
        for process in ui.running.find("reference.serve")
        if any(wanted in value for value in process.environ().values())
    )


def test_other_sites_and_hidden_options_are_turned_away(ui: Ui) -> None:
    # The tab is at rest before Locust's runner has said so.
    deadline = time.monotonic() + PATIENCE_S
    while ui.state() not in ("ready", "stopped") and time.monotonic() < deadline:
        time.sleep(0.05)
    form = {"user_count": "1", "spawn_rate": "1"}
    with httpx.Client(base_url=ui.url, trust_env=False) as http:
        foreign = {"Origin": "http://evil.example"}
        assert http.post("/swarm", data=form, headers=foreign).status_code == 403
        assert http.get("/auth-cache/data", headers=foreign).status_code == 403
        assert http.get("/", headers={"Host": "evil.example"}).status_code == 403
        own = {"Origin": ui.url}
        for field in ({"hosts": "http://192.0.2.1"}, {"keys_file": "x"}, {"logfile": "x"}):
            answer = http.post("/swarm", data={**form, **field}, headers=own).json()
            assert answer["success"] is False
            assert "command line" in answer["message"]
        assert http.get("/auth-cache/static/web.py").status_code == 404
    assert ui.state() in ("ready", "stopped")


def test_the_web_ui_listens_on_this_machine_only(ui: Ui) -> None:
    ports = {int(ui.url.rpartition(":")[2])}
    found = 0
    for process in ui.running.find("locustfile.py"):
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1"
                found += connection.laddr.port in ports
    assert found == 1


def test_ctrl_c_in_the_middle_of_a_load_ends_everything(ui: Ui, browser: Person) -> None:
    start(browser, ui)
    browser.until("requests", lambda: figure(browser, "requests", "recommended", "all") > 10)
    ui.running.children()
    ui.running.process.send_signal(signal.SIGINT)
    assert ui.running.end() == 0, ui.running.output()
    assert ui.running.leftovers() == []
    assert not list(ui.running.runs_dir.glob("*/keys.json"))
    browser.until("the page's word", lambda: "Locust does not answer" in browser.text())


def test_a_port_in_use_is_reported_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        plug.listen()
        ended = harness(tmp_path, "ui", "--port", str(plug.getsockname()[1]))
    assert ended.code == EXIT_USAGE
    assert "Give another port with --port or PORT" in ended.output
    assert not (tmp_path / "runs").exists()
