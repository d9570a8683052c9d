"""The table of docs/nir.md: what is refused, what comes back as it was, and that the page says the same."""

import pytest
import torch
from nir_cases import CASES, READERS, REFUSED
from programs import ROOT

from snntrain import functional
from snntrain.export import ExportError, export_nir, import_nir

nir = pytest.importorskip("nir")
REFUSALS = [
    (row, reader)
    for row, case in CASES.items()
    for reader, what in zip(READERS, case.readers, strict=True)
    if what == REFUSED
]


@pytest.mark.parametrize(("row", "reader"), REFUSALS)
def test_what_a_reader_cannot_hold_is_refused_by_layer_and_reader(row, reader, tmp_path):
    net, x = CASES[row].net(reader), CASES[row].input()
    with pytest.raises(ExportError, match=rf"export: .+ cannot be exported: .*\b{reader}\b.*\. \w.+\.$"):
        export_nir(net, x, tmp_path / "net.nir", reader=reader, verify=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("row", CASES)
@torch.no_grad()
def test_what_is_exported_comes_back_as_it_was(row, tmp_path):
    net, x = CASES[row].net("nir"), CASES[row].input()
    export_nir(net, x, tmp_path / "net.nir")
    copy = import_nir(tmp_path / "net.nir")
    functional.set_backend(copy, "torch")
    functional.reset_net(net)
    expected = net(x)
    torch.testing.assert_close(copy(x), expected, rtol=1e-5, atol=2e-6)
    assert len(expected.unique()) > 1


def test_the_page_says_what_is_tested():
    lines = (ROOT / "docs/nir.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    table = {row: tuple(rest[2:]) for row, *rest in cells if len(rest) == 5 and row != "node" and set(row) != {"-"}}
    assert table == {row: case.readers for row, case in CASES.items()}
