"""The page of runs is complete without scripts, escaped for any content, and sorts and filters in a browser."""

import json
import os
import re
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from browser import Browser, needs_chromium
from run_folders import make_run, make_sweep

from snntrain.lab.run_rows import find_rows, sweep_rows
from snntrain.lab.runs_curves import curves_of_rows
from snntrain.lab.runs_page import write_page, write_sweep_report
from snntrain.lab.runs_plots import sweep_plots
from snntrain.lab.sweep.jobs import Job

HOSTILE = """<script>alert("x")</script><b a='"'></td>--><img src=http://x.test/ onerror=y>{{ 7 * 7 }}"""


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
    assert html.count("<svg") == 2 and "job 5 failed:" in html and "All with <code>T=2</code>" in html
    assert [address for address in page.addresses if not address.startswith("#")] == [
        f"./{n}/report.html" for n in range(5)
    ]
    assert (sweep / "sweep.csv").read_text().count("\n") == 7


@pytest.mark.parametrize(("monitor", "best"), [(("val/acc", "max"), "90.00 %"), (("val/loss", "min"), "0.1")])
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
    assert page.scripts == ["application/json", "application/json", "javascript"] and page.handlers == []
    assert not {"b", "img", "iframe", "object"} & set(page.tags)
    assert sorted(row[1] for row in page.rows) == sorted(row.name for row in rows)
    assert sorted(address for address in page.addresses) == [
        "./runs/a%22%3Cb%3E%26%27%23%3F%25/report.html",
        "./runs/plain/report.html",
    ]
    assert re.search(r"default-src 'none'.*script-src 'sha256-[\w+/=]+'", html)


def write_epochs(folder: Path, count: int, best: int) -> None:
    """metrics.csv whose val/acc is largest in one epoch."""
    lines = [f"{epoch},{1 / (1 + epoch)},{0.9 if epoch == best else 0.001 * epoch / count}" for epoch in range(count)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,val/loss,val/acc", *lines, ""]))


def test_curves_are_thinned_to_a_few_epochs_that_hold_the_best_one(sweep):
    for number, count in enumerate((1, 2, 200, 201, 5000)):
        write_epochs(sweep / str(number), count, best=count // 3)
    rows = sweep_rows(sweep)
    found = curves_of_rows(rows)
    assert [len(run["epoch"]) if run else 0 for run in found["runs"]] == [
        1,
        2,
        200,
        199,
        199,
        0,
    ]  # 198 evenly spread ones and the best
    for run, count in zip(found["runs"], (1, 2, 200, 201, 5000), strict=False):
        assert (run["epoch"][0], run["epoch"][-1]) == (0, count - 1) and sorted(run["epoch"]) == run["epoch"]
        assert run["epoch"][run["curves"]["val/acc"].index(0.9)] == count // 3
        assert set(run["curves"]) == {"val/acc", "val/loss"}
    assert found["shares"] == ["val/acc"] and found["note"].startswith("Of longer runs, 200 epochs are drawn")


@pytest.mark.slow
def test_the_page_of_a_thousand_runs_is_a_few_megabytes_and_says_what_it_leaves_out(tmp_path):
    folder = make_run(tmp_path / "runs" / "0", ["T=2", "neuron.tau=2"], val_acc=0.5, test_acc=0.25, test_loss=1.5)
    write_epochs(folder, 70, best=50)
    (row,) = find_rows([tmp_path / "runs"])
    config = row.config | {f"group.key{index}": "a value of a usual length" for index in range(200)}
    rows = [
        replace(row, name=f"run/of/somebody/{n}", overrides={"T": "2", "seed": f"{n}", f"neuron.key{n % 40}": "1"})
        for n in range(1001)
    ]
    for n, one in enumerate(rows):
        one.config = config | {"seed": f"{n}"}
    path = write_page(tmp_path / "page.html", rows, title="many", first="run")
    html = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 4_000_000
    assert "Of longer runs, 60 epochs are drawn" in html and "the curves of its first 1,000 runs" in html
    assert html.count("a value of a usual length") == 200  # once, not once for each run
    page = Page(html)
    assert len(page.rows) == 1001 and "All with <code>T=2</code>" in html
    assert "seed=7 neuron.key7=1" in page.rows[7] and not any("T=2" in cell for row in page.rows for cell in row)


@needs_chromium
def test_the_page_is_filtered_sorted_compared_and_overlaid_in_a_browser(tmp_path, hostile):
    folders = [
        make_run(tmp_path / "many" / name, [f"neuron={neuron}", f"T={T}"], status, val_acc=acc, test_acc=1 - acc)
        for name, neuron, T, status, acc in (
            ("a", "if", 2, "finished", 0.5),
            ("b", "if", 4, "finished", 0.125),
            ("c", "lif", 2, "finished", 0.9),
            ("d", "lif", 4, "failed", 0.57),
        )
    ]
    for day, folder in enumerate(folders, start=10):
        write_epochs(folder, 5, best=3)
        for file in folder.iterdir():
            os.utime(file, (datetime(2026, 1, day).timestamp(),) * 2)
    rows = find_rows([tmp_path / "many"])
    for row in rows:
        row.name = row.folder.name
    path = write_page(tmp_path / "many.html", rows, title="many", first="run")
    shown = "[...document.querySelectorAll('#runs tbody tr:not([hidden])')].map(row => row.dataset.name).join('')"
    widths = "[...document.querySelectorAll('#runs thead th')].map(head => head.getBoundingClientRect().width)"
    with Browser(tmp_path / "chromium") as browser:
        browser.look()
        browser.open(path, "sort=-val/acc&filter=-b")
        assert browser(shown) == "cda"
        before = browser(widths)
        for selector, text, left in (
            ("#filter", "neuron=lif", "cd"),
            ("#status", "finished", "c"),
            ("#filter", "", "cab"),
            ("#status", "", "cdab"),
            ("#from", "2026-01-11", "cdb"),
            ("#to", "2026-01-12", "cb"),
            ("#from", "", "cab"),
            ("#to", "", "cdab"),
            ("#metric", "val/acc", "cdab"),
            ("#low", "57", "cd"),  # in percent, as it is shown; 100 * 0.57 < 57
            ("#high", "57", "d"),
        ):
            browser.enter(selector, text)
            assert browser(shown) == left, (selector, text)
        assert "metric=val%2Facc&low=57&high=57" in browser("location.hash")
        browser.click("#reset")
        browser.click("th[data-key=T]")
        assert browser(shown) == "acbd" and browser("location.hash") == "#sort=T"
        browser.click("th[data-key=T]")
        assert browser(shown) == "bdac"
        assert browser(widths) == before  # no column moved

        browser.click("tr[data-name=c] input")
        assert browser("document.getElementById('differing').textContent") == "Choose a second run to compare with."
        browser.click("tr[data-name=d] input")
        lines = "[...document.querySelectorAll('.curves svg')].map(svg => svg.querySelectorAll('polyline').length)"
        assert browser(lines) == [2, 2] and browser("document.querySelectorAll('#legend li').length") == 2
        titles = "[...document.querySelectorAll('.curves .title')].map(title => title.textContent)"
        assert browser(titles) == ["val/acc", "val/loss"]
        heads = "[...document.querySelectorAll('#compared thead th')].map(head => head.textContent)"
        assert browser(heads) == ["key", "c", "d"]
        assert browser("location.hash") == "#sort=-T&compare=c&compare=d"

        visible = "[...document.querySelectorAll('#runs thead th')].filter(head => head.offsetWidth).length"
        count = browser(visible)
        browser.click("[data-column=seconds]")
        assert browser(visible) == count - 1 and "column=status" in browser("location.hash")
        browser.open(path, browser("location.hash.slice(1)"))
        assert browser(visible) == count - 1 and browser(lines) == [2, 2]
        browser.look(400)
        browser.open(path)
        assert browser(visible) < count and browser("document.documentElement.scrollWidth") <= 400

        path, rows = hostile
        names = "&".join(f"compare={quote(row.name, safe='')}" for row in rows)
        browser.open(path, names)
        compared = browser("document.getElementById('compared').textContent")
        assert "neuron.name" in compared and "alert" in compared and "model.layers" not in compared
        page = Page(browser("document.documentElement.outerHTML"))
        assert not {"b", "img"} & set(page.tags) and page.handlers == []
