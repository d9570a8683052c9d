"""The folder of a run as training writes it, and the page of its report, read as a browser would."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from snntrain.run.report.report import write_report

SECTIONS = {
    "curves": "Learning curves",
    "firing": "Firing rates",
    "raster": "Spike raster",
    "confusion": "Confusion matrix",
    "layers": "Layers",
    "metrics": "Metrics",
    "config": "Config",
    "overrides": "Overrides",
    "provenance": "Provenance",
}
CONFUSION = [[9, 1, 0], [0, 8, 2], [0, 0, 0]]
HOSTILE = """<script>alert("x")</script><b a='"'>&amp;</style>--><img src=http://x.test/ onerror=y>$\\frac$"""
VOID = {"meta", "img", "br", "hr", "link", "input", "wbr"}


class Page(HTMLParser):
    """What a browser would make of the page: elements, their nesting, the text and the addresses they load."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.texts: list[str] = []
        self.notes: dict[str, str] = {}
        self.section = ""
        self.in_note = self.in_word = False
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.in_word = tag == "wbr"
        if tag not in VOID:
            self.open.append(tag)
        for key, value in attrs:
            if key in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
                self.addresses.append(value or "")
            elif key == "id":
                self.ids.append(value or "")
            elif key.startswith("on"):
                self.handlers.append(key)
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
        self.in_note = tag == "p" and dict(attrs).get("class") == "missing"

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element, line {self.getpos()[0]}"
        self.in_note = False

    def handle_data(self, data: str) -> None:
        start = self.texts.pop() if self.in_word else ""  # <wbr>: a long word may go on in the next line
        self.texts.append(start + data)
        self.in_word = False
        if self.in_note:
            self.notes[self.section] = data


def read_page(folder: Path) -> Page:
    """Write the report and check what holds for every report."""
    path = write_report(folder)
    assert path == folder / "report.html"
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert not page.tags & {"script", "link", "iframe", "object", "base", "form"}
    assert page.handlers == []
    assert [address for address in page.addresses if not address.startswith(("data:image/png;base64,", "#"))] == []
    assert re.findall(r"@import|url\((?!#)", html) == []
    assert len(page.ids) == len(set(page.ids))
    assert set(SECTIONS) <= set(page.ids)
    assert all(title in page.text for title in SECTIONS.values())
    assert sorted(entry.name for entry in folder.iterdir() if entry.name.startswith(".")) == []
    return page


def make_run(folder: Path) -> Path:
    random = np.random.default_rng(0)
    (folder / "artifacts").mkdir(parents=True)
    metrics = {"test/acc": 0.981, "test/loss": 0.0712345678, "test/firing_rate": 0.1234, "ann2snn/acc_T8": 0.955}
    results = {
        "status": "finished",
        "metrics": metrics,
        "hex": {name: value.hex() for name, value in metrics.items()},
        "seconds": {"fit": 3661.0, "test": 0.4},
        "throughput": {"train_images_per_second": 1912.3},
        "best_epoch": 1,
    }
    write_json(folder / "results.json", results)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        # alphabetical, as logged: layers.10 before layers.2
        rates = ["val/firing_rate", "val/firing_rate/layers.10", "val/firing_rate/layers.2"]
        writer.writerow(["epoch", "lr", "train/loss", "val/loss", "val/acc", *rates])
        writer.writerows([[0, 0.1, 2.0, "", 0.5, 0.2, 0.3, 0.1], [1, 0.05, 1.0, 1.5, 0.9725, 0.1, 0.25, 0.0625]])
    layers = [
        layer("layers.0", "Conv2d", [16, 8, 8], parameters=12345, macs=6789),
        layer("layers.2", "LIFNode", [16, 8, 8], neuron="tau=2.0"),
        layer("layers.7", "Linear", [20], macs=1000),
        layer("layers.10", "IFNode", [20], neuron="v_threshold=1.0"),
    ]
    write_json(folder / "layers.json", layers)
    counts = [{"path": "layers.0", "sops": 0.0, "macs": 6789.0}, {"path": "layers.7", "sops": 432.1, "macs": 0.0}]
    energy = {"energy_uJ": 0.03161829, "energy_ann_uJ": 0.0358294, "pj_per_mac": 4.6, "pj_per_sop": 0.9}
    totals = {"sops": 432.1, "macs": 6789.0, "T": 4, "samples": 20, "source": "Horowitz, ISSCC 2014"}
    write_json(folder / "artifacts/synaptic_operations.json", {"layers": counts, **energy, **totals})
    (folder / "config.yaml").write_text("seed: 1\nneuron: {name: LIFNode}\n")
    (folder / "overrides.yaml").write_text("- neuron=lif\n- T=4\n")
    code = {"commit": "0123456789abcdef0123", "dirty": True, "diff": "@@ -1 +1 @@\n-old line\n+new line\n"}
    provenance = {"command": "python train.py neuron=lif", "code": code, "versions": {"torch": "2.13.0"}}
    write_json(folder / "provenance.json", provenance)
    np.savez(folder / "artifacts/test.npz", confusion=np.array(CONFUSION), classes=np.array(["cat", "dog", "eel"]))
    arrays = {
        "spikes/layers.2": random.integers(0, 2, (4, 1024)).astype(np.uint8),
        "spikes/layers.10": random.integers(0, 2, (4, 20)).astype(np.uint8),
        "input": random.normal(size=(1, 4, 4)),
        "output": random.normal(size=(4, 3)),
    }
    np.savez(folder / "artifacts/raster.npz", label=1, predicted=2, **arrays)
    return folder


def layer(path: str, name: str, output_shape: list[int], parameters: int = 0, macs: int = 0, neuron: str = "") -> dict:
    columns = {"output_shape": output_shape, "parameters": parameters, "macs": macs, "fan_out": 1.5, "neuron": neuron}
    return {"path": path, "name": name, **columns}


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
