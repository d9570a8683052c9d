"""The layer table of a terminal: nothing is cut, settings that neurons share are said once."""

import io

import pytest
from rich.console import Console

from snntrain.run.report.layer_table import layer_table

LIF, IF = "tau=2, v_threshold=1, v_reset=0, ATan", "v_threshold=1, v_reset=[0], Sigmoid"


def row(path: str, name: str, neuron: str = "", **more) -> dict:
    return {"path": path, "name": name, "neuron": neuron, "output_shape": [], "parameters": 0, "macs": 0} | more


ROWS = [
    row("layers.0", "Conv2d", output_shape=[64, 32, 32], parameters=1728, macs=1_769_472),
    row("layers.1", "LIFNode", LIF, output_shape=[64, 32, 32]),
    row("layers.2.residual.0.attention", "SpikingSelfAttention", output_shape=[384, 196], macs=29_503_488),
    row("layers.2.residual.0.attention.projection.neuron", "LIFNode", LIF, output_shape=[384, 196]),
    row("layers.2.residual.0.attention.projection.norm", "ThresholdDependentBatchNorm2d", parameters=768),
    row("layers.3", "IFNode", IF, output_shape=[10]),
]


def rendered(rows: list[dict], width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(layer_table(rows))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_nothing_is_cut_at_any_usual_width(width):
    lines = rendered(ROWS, width)
    assert all(len(line) <= width for line in lines)
    assert "…" not in "".join(lines)
    for path in ("layers.0", "layers.1", "layers.3") if width < 160 else (row["path"] for row in ROWS):
        assert any(line.startswith(f"{path} ") for line in lines), path
    for text in ("64×32×32", "1,728", "1,769,472", "29,503,488", "2,496", "31,272,960"):
        assert any(text in line for line in lines), text


def test_rows_and_totals_stand_side_by_side_in_a_wide_terminal():
    lines = rendered(ROWS, 160)
    assert lines[0].split() == ["path", "layer", "output", "parameters", "MACs", "/", "step"]
    assert lines[1].split() == ["layers.0", "Conv2d", "64×32×32", "1,728", "1,769,472"]
    assert lines[4].split() == [ROWS[3]["path"], "LIFNode", "(a)", "384×196"]
    assert lines[7].split() == ["total", "2,496", "31,272,960"]


def test_settings_stand_below_once_for_all_neurons_that_have_them():
    lines = rendered(ROWS, 160)
    assert [line.split()[1:] for line in lines if "LIFNode" in line] == [
        ["LIFNode", "(a)", "64×32×32"],
        ["LIFNode", "(a)", "384×196"],
    ]
    assert lines[8:] == [f"(a)  {LIF}", f"(b)  {IF}"]
    assert "(a)" not in "".join(rendered([ROWS[0]], 160))


def test_more_kinds_than_letters_are_numbered():
    lines = rendered([row(f"layers.{i}", "LIFNode", f"tau={i}") for i in range(2, 30)], 100)
    assert lines[-3:] == ["(z)   tau=27", "(27)  tau=28", "(28)  tau=29"]
