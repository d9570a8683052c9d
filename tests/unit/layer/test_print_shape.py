"""PrintShapeModule: one line on stdout, and nothing else."""

import pytest
import torch
from torch import distributed

from snntrain.layer.print_shape import PrintShapeModule


def test_it_prints_one_line_and_returns_the_input(capsys):
    x = torch.zeros(4, 2, 3)
    assert PrintShapeModule("after conv1")(x) is x
    assert capsys.readouterr().out == "after conv1 [4, 2, 3]\n"
    PrintShapeModule()(x[0, 0, 0])
    assert capsys.readouterr().out == "PrintShapeModule []\n"


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_of_several_processes_prints(rank: int, capsys, monkeypatch, tmp_path):
    # A real group of one process; its rank is the only thing that is not real.
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        monkeypatch.setattr(distributed, "get_rank", lambda: rank)
        x = torch.zeros(2)
        assert PrintShapeModule("layer")(x) is x
    finally:
        monkeypatch.undo()
        distributed.destroy_process_group()
    assert capsys.readouterr().out == ("layer [2]\n" if rank == 0 else "")


def test_the_text_is_a_string():
    with pytest.raises(ValueError, match="PrintShapeModule: ext_str must be a string, got 3"):
        PrintShapeModule(3)
    assert repr(PrintShapeModule("a")) == "PrintShapeModule(ext_str='a')"
