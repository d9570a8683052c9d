"""Every cell "run" of the table in docs/nir.md: snnTorch 1.0.0, Norse 1.1.0 and sinabs 3.1.3 compute what we say."""

import pytest
import torch
from nir_cases import CASES, READERS, RUN, in_steps

from snntrain import functional
from snntrain.export import export_nir, import_nir

pytestmark = pytest.mark.optional
nir = pytest.importorskip("nir")
DT = 1e-4
CELLS = [
    (row, reader) for row, case in CASES.items() for reader in READERS if case.readers[READERS.index(reader)] == RUN
]


def computed(reader: str, path, x: torch.Tensor) -> torch.Tensor:
    if reader == "snntorch":
        return in_steps(pytest.importorskip("snntorch.import_nir").import_from_nir, path, x)
    if reader == "norse":
        load = pytest.importorskip("norse.torch").from_nir
        return in_steps(lambda graph: load(graph, dt=DT), path, x)
    net = pytest.importorskip("sinabs.nir").from_nir(nir.read(path), num_timesteps=len(x))
    y = net(x.transpose(0, 1).flatten(0, 1))  # it reads [N·T, *]
    return (y[0] if isinstance(y, tuple) else y).unflatten(0, (x.shape[1], len(x))).transpose(0, 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("row", "reader"), CELLS)
@torch.no_grad()
def test_the_reader_computes_what_we_say(row, reader, tmp_path):
    net, x = CASES[row].net(reader), CASES[row].input()
    export_nir(net, x, tmp_path / "net.nir", DT, reader=reader, verify=False)
    if reader == "sinabs":  # which fires several times in a step
        net = import_nir(tmp_path / "net.nir", reader="sinabs")
    functional.reset_net(net)
    expected, found = net(x), computed(reader, tmp_path / "net.nir", x)
    torch.testing.assert_close(found.reshape(expected.shape), expected, rtol=0, atol=1e-5)
    assert len(expected.unique()) > 1
