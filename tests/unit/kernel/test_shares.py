"""Shares of a batch in threads of their own: equal to the loop to the last bit, errors included."""

import time

import pytest
import torch
from recurrent_containers import CONTAINERS, assert_fused_is_loop, plif
from seeded_inputs import normal
from torch.utils.flop_counter import FlopCounterMode

from snntrain import functional, layer, neuron
from snntrain.kernel.shares import run_side_by_side, shares_of


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("rows", "features", "bias"), [(128, 128, False), (33, 512, True), (250, 100, True)])
def test_threads_take_their_rows_through_all_steps_to_the_last_bit(rows, features, bias):
    shares = shares_of(rows, features, torch.float32, torch.device("cpu"))
    if len(shares) == 1:
        pytest.skip("torch multiplies without MKL here")
    assert [share.stop - share.start for share in shares] == [rows // 2, rows - rows // 2]
    spikes, *_ = assert_fused_is_loop(CONTAINERS["summed"](plif(), features, bias), 3 * normal(10, rows, features))
    assert 0 < float(spikes.detach().mean()) < 1 and torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_rows_are_not_shared_where_another_product_could_round_differently():
    cpu = torch.device("cpu")
    for rows, features, dtype in ((31, 512, torch.float32), (256, 513, torch.float32), (256, 256, torch.float64)):
        assert shares_of(rows, features, dtype, cpu) == [slice(0, rows)]
    assert shares_of(64, 64, torch.float32, cpu) == [slice(0, 64)]  # not worth a thread
    with FlopCounterMode(display=False):
        assert len(shares_of(256, 256, torch.float32, cpu)) == 1
    torch.set_num_threads(1)
    assert len(shares_of(256, 256, torch.float32, cpu)) == 1


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_in_one_share_is_raised_when_all_have_ended(bad):
    ended = []

    def work(share: slice) -> None:
        if share.start == bad:
            raise RuntimeError(f"in share {bad}")
        time.sleep(0.2)  # long after the other one has failed
        ended.append(share)

    with pytest.raises(RuntimeError, match=f"in share {bad}"):
        run_side_by_side(work, [slice(0, 1), slice(1, 2)])
    assert ended == [slice(1 - bad, 2 - bad)] and torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_shares_run_in_inference_mode_as_without_gradients():
    recurrent = layer.ElementWiseRecurrentContainer(
        neuron.LIFNode(v_threshold=0.3), layer.FeedbackSum(layer.Linear(128, 128)), step_mode="m"
    )
    x_seq = torch.randn(3, 128, 128)
    assert len(shares_of(128, 128, torch.float32, torch.device("cpu"))) == 2
    with torch.no_grad():
        expected = recurrent(x_seq)
    functional.reset_net(recurrent)
    with torch.inference_mode():
        found = recurrent(x_seq)
    assert torch.equal(found, expected) and found.any()
