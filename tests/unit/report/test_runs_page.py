"""The page of runs is complete without scripts, escaped for any content, and sorts and filters in a browser."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_folders import make_run, make_sweep

from snntrain.report.run_rows import find_rows, sweep_rows
from snntrain.report.runs_page import write_page, write_sweep_report
from snntrain.report.runs_plots import sweep_plots
from snntrain.sweep.jobs import Job

HOSTILE = """<script>alert("x")</script><b a='"'></td>--><img src=http://x.test/ onerror=y>{{ 7 * 7 }}"""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium and no google-chrome is installed")


class Page(HTMLParser):
    """Rows of the table as lists of cells, tags, addresses and handlers of the page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.scripts: list[str] = []
        self.hidden: list[bool] = []
        self.inside = ""
        self.html = html
        self.feed(html)
        self.rows = [[cell.strip() for cell in row] for row in self.rows]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        self.addresses += [given[key] for key in ("src", "href", "action", "data", "xlink:href") if key in given]
        self.handlers += [key for key in given if key.startswith("on")]
        if tag == "tr" and "data-id" in given:
            self.rows.append([])
            self.hidden.append("hidden" in given)
            self.inside = "row"
        elif self.inside == "row" and tag == "td":
            self.rows[-1].append("")
        elif tag == "script":
            self.scripts.append(given.get("type", "javascript"))

    def handle_endtag(self, tag):
        self.inside = "" if tag == "tr" else self.inside

    def handle_data(self, data):
        if self.inside == "row" and self.rows[-1]:
            self.rows[-1][-1] += data


def in_chromium(page: Path, state: str) -> Page:
    """The page as its own script left it."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run([*command, f"{page.as_uri()}#{state}"], capture_output=True, text=True, timeout=120)
    assert "</html>" in done.stdout, done.stderr
    return Page(done.stdout)


@pytest.fixture
def sweep(tmp_path):
    jobs = [
        Job(n, ["T=2", f"neuron={neuron}", f"optim.lr={lr}"], "finished", seconds=n / 3, metrics={"test/acc": acc})
        for n, (neuron, lr, acc) in enumerate(
            [("if", 0.1, 0.5), ("if", 0.01, 0.1), ("lif", 0.1, 0.9), ("lif", 0.001, 0.25), ("plif", 0.01, 0.05)]
        )
    ]
    jobs.append(Job(5, ["T=2", "neuron=plif", "optim.lr=-1"], "failed", error="lr < 0 <b>&\nmore"))
    return make_sweep(tmp_path / "sweep", jobs)


def test_the_page_of_a_sweep_holds_its_jobs_failures_and_a_plot_for_each_parameter(sweep):
    html = write_sweep_report(sweep).read_text(encoding="utf-8")
    page = Page(html)
    assert [row[1] for row in page.rows] == list("012345")
    assert [row[2] for row in page.rows] == ["finished"] * 5 + ["failedlr < 0 <b>&"]
    assert html.count("<svg") == 2 and "job 5 failed:" in html and "All with T=2" in html
    assert [address for address in page.addresses if not address.startswith("#")] == [
        f"./{n}/report.html" for n in range(5)
    ]
    assert (sweep / "sweep.csv").read_text().count("\n") == 7


@pytest.mark.parametrize(("monitor", "best"), [(("val/acc", "max"), "0.9000"), (("val/loss", "min"), "0.1000")])
def test_the_best_run_is_that_of_the_monitored_metric_and_never_of_the_test(tmp_path, monitor, best):
    metrics = [{"val/acc": 0.9, "val/loss": 0.5, "test/acc": 0.2}, {"val/acc": 0.1, "val/loss": 0.1, "test/acc": 0.7}]
    jobs = [Job(n, [f"T={n}"], "finished", metrics=found) for n, found in enumerate(metrics)]
    folder = make_sweep(tmp_path / "sweep", jobs)
    for number in range(2):  # as the runs' own configs say
        with (folder / f"{number}/config.yaml").open("a") as file:
            file.write(f"monitor: {{metric: {monitor[0]}, mode: {monitor[1]}}}\n")
    html = write_sweep_report(folder).read_text(encoding="utf-8")
    assert f"best {monitor[0]}" in html and "best test/acc" not in html
    assert f">{best}<" in html[html.index(f"best {monitor[0]}") - 200 : html.index(f"best {monitor[0]}") + 200]
    rows = find_rows([folder])
    rows[0].monitor = ("val/other", "max")
    page = write_page(tmp_path / "page.html", rows, title="x", first="run").read_text(encoding="utf-8")
    assert "best val" not in page  # runs that were chosen by different metrics are not compared


def test_plots_leave_out_the_seed_and_what_does_not_vary(sweep):
    rows = sweep_rows(sweep)
    assert [key for key, _ in sweep_plots(rows, ["test/acc"])] == ["neuron", "optim.lr"]
    assert sweep_plots(rows[:1], ["test/acc"]) == [] and sweep_plots(rows, ["val/acc"]) == []


@pytest.fixture
def hostile(tmp_path):
    folder = tmp_path / "runs" / "a\"<b>&'#?%"
    make_run(folder, [f"neuron.name={json.dumps(HOSTILE)}", "T=2"], "failed", test_acc=0.5)
    (folder / "results.json").write_text(
        (folder / "results.json")
        .read_text()
        .replace('"status"', '"message": "</script><script>evil()</script>", "status"')
    )
    make_run(tmp_path / "runs" / "plain", ["T=4"], test_acc=0.25)
    rows = find_rows([tmp_path / "runs"])
    return write_page(tmp_path / "page.html", rows, title=HOSTILE, first="run"), rows


def test_nothing_from_a_run_becomes_markup(hostile):
    path, rows = hostile
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.scripts == ["application/json", "javascript"] and page.handlers == []
    assert not {"b", "img", "iframe", "object"} & set(page.tags)
    assert sorted(row[1] for row in page.rows) == sorted(row.name for row in rows)
    assert sorted(address for address in page.addresses) == [
        "./runs/a%22%3Cb%3E%26%27%23%3F%25/report.html",
        "./runs/plain/report.html",
    ]
    assert re.search(r"default-src 'none'.*script-src 'sha256-[\w+/=]+'", html)


@needs_chromium
def test_the_page_sorts_and_filters_itself_as_its_address_says(sweep):
    page = in_chromium(write_sweep_report(sweep), "sort=-test/acc&filter=-plif&compare=2&compare=3&all=1")
    assert [row[1] for row in page.rows] == list("203145")  # 5 has no accuracy
    assert [row[1] for row, hidden in zip(page.rows, page.hidden, strict=True) if hidden] == ["4", "5"]
    ascending = in_chromium(sweep / "sweep.html", "sort=optim.lr&filter=lif%20finished")
    assert [row[1] for row in ascending.rows] == list("531402")
    assert [row[1] for row, hidden in zip(ascending.rows, ascending.hidden, strict=True) if not hidden] == list("342")


@needs_chromium
def test_configs_are_compared_in_the_browser_and_hostile_ones_stay_text(hostile):
    path, rows = hostile
    names = "&".join(f"compare={re.sub(r'.', lambda m: f'%{ord(m[0]):02X}', row.name)}" for row in rows)
    page = in_chromium(path, names)
    compared = page.html[page.html.index('id="compared"') :].partition("</section>")[0]
    assert "neuron.name" in compared and "alert" in compared and "model.layers" not in compared
    assert not {"b", "img"} & set(page.tags) and page.handlers == []
