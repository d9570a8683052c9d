"""Pages fit a narrow screen, follow the system's dark mode in their figures too, and print light and uncut."""

import re
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, needs_chromium

import snntrain
from snntrain import figure
from snntrain.files import write_json
from snntrain.run.report.report import write_report

SHEET = (Path(snntrain.__file__).parent / "run/report/page.css").read_text(encoding="utf-8")


def variables(text: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): ([^;]+);", text))


def test_every_color_of_figures_has_a_value_for_light_and_for_dark():
    light, dark = (variables(part) for part in re.findall(r":root \{(.*?)\}", SHEET, re.DOTALL)[:2])
    assert light.keys() == dark.keys() and "@media screen and (prefers-color-scheme: dark)" in SHEET
    with figure.style():
        drawn = figure.new_figure(2, 2)
        axes = drawn.add_subplot(title="loss")
        axes.plot([0, 1], [1, 2], color=figure.BLUE)
        axes.imshow(figure.shades(np.eye(2)))
    text = figure.svg(drawn, "one")
    used = re.findall(r"var\(--(\w+), (#\w+)\)", text)
    assert {"ink", "muted", "axis", "blue"} <= {name for name, _ in used}
    assert {name for name, _ in used} <= light.keys()
    assert not re.search(rf"(?<!, )({figure.INK}|{figure.MUTED}|{figure.BLUE})", text)
    assert re.search(r'"data:image/png;base64,[\w+/=]+"', text)


def test_shades_show_the_ground_through_where_nothing_is():
    assert figure.shades(np.array([0.0, 1, 2]))[:, 3].tolist() == [0, 1, 1]


@pytest.fixture
def report(tmp_path):
    folder = tmp_path / "run"
    (folder / "artifacts").mkdir(parents=True)
    (folder / "metrics.csv").write_text("epoch,lr,train/loss,val/acc\n0,0.1,2.0,0.5\n1,0.1,1.0,0.75\n")
    (folder / "overrides.yaml").write_text(f"- {'a' * 300}\n")
    path = ".".join(["stages", "0", "block"] * 6)
    row = {"path": path, "name": "Conv2d", "output_shape": [16, 8, 8], "parameters": 12345, "macs": 10**9}
    write_json(folder / "layers.json", [row] * 3)
    spikes = {f"spikes/{path}.{index}": np.ones((4, 200), np.uint8) for index in range(8)}
    np.savez(folder / "artifacts/raster.npz", input=np.ones((1, 8, 8)), output=np.ones((4, 3)), label=0, **spikes)
    return write_report(folder)


@needs_chromium
def test_a_report_fits_a_narrow_screen_and_follows_the_systems_colors(tmp_path, report):
    text = "getComputedStyle(document.querySelector('#curves svg g[style]')).fill"
    height = "Math.max(...[...document.querySelectorAll('.plot svg')].map(svg => svg.getBoundingClientRect().height))"
    with Browser(tmp_path / "chromium") as browser:
        browser.look(400, mobile=True)
        browser.open(report)
        assert browser("document.documentElement.scrollWidth") == 400
        card = "getComputedStyle(document.querySelector('.plot')).backgroundColor"
        light = browser(text), browser(card)
        browser.look(400, mobile=True, dark=True)
        dark = browser(text), browser(card)
        assert light[0] != dark[0] and light[1] == "rgb(255, 255, 255)" and dark[1] != light[1]
        browser.call(
            "Emulation.setEmulatedMedia",
            media="print",
            features=[{"name": "prefers-color-scheme", "value": "dark"}],
        )
        assert (browser(text), browser(card)) == light
        assert browser(height) <= 225 / 25.4 * 96  # a figure is not higher than a sheet of paper
