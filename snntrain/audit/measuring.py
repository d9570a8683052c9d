"""Checks of what stands around a net: encoders, the choice of the best epoch, metrics of padded sequences."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.audit.finding import Seen, check
from snntrain.functional import real_steps, reset_net
from snntrain.randomness import seeded

_SAME = 4  # copies of one sample
_NAMES_OF_RANDOMNESS = ("seed", "generator", "rng")


@check(
    "one seed for all samples",
    severity="error",
    remedy="Draw for each sample by itself: give a random encoder a seed per sample, as snntrain's tasks do, and let "
    "it seed no global generator.",
    source="github.com/pytorch/pytorch/issues/5059; github.com/norse/norse/issues/75",
)
def one_seed(encoder: Callable[..., Tensor], x: Tensor, T: int, seeds: Sequence[int] | None = None) -> Iterator[Seen]:
    """Random encoders that draw the same numbers for every sample, or for every batch.

    Args:
        encoder: (x [N, *], T) → [T, N, *]; with seeds, (x, T, seeds).
        x: samples as the encoder takes them, [N, *], N ≥ 1.
        T: steps.
        seeds: those that the samples are encoded with, one for each of N; None: it takes none.
    """
    if seeds is not None and len(seeds) > 1 and len(set(seeds)) == 1:
        yield Seen("encoder", f"All {len(seeds)} samples of the batch are encoded with the seed {seeds[0]}.")
        return
    if seeds is not None:
        return
    gray = x[:1].expand(_SAME, *x.shape[1:]).contiguous()
    first, state = _encoded(encoder, gray, T, seed=1)
    second, other = _encoded(encoder, gray, T, seed=2)
    is_reseeded = torch.equal(state, other)
    named = any(getattr(encoder, name, None) is not None for name in _NAMES_OF_RANDOMNESS)
    is_random = getattr(encoder, "is_random", False) or named or not torch.equal(first, second)
    if is_reseeded:
        yield Seen("encoder", f"{type(encoder).__name__} seeds torch's generator, so that every batch draws the same.")
    elif is_random and T * gray[0].numel() >= 8 and bool((first == first[:, :1]).all()):
        yield Seen(
            "encoder", f"{_SAME} samples with the same values get the same spikes from {type(encoder).__name__}."
        )


def _encoded(encoder: Callable[..., Tensor], x: Tensor, T: int, seed: int) -> tuple[Tensor, Tensor]:
    """The sequence, and the state of torch's generator after it."""
    with seeded(seed):
        if isinstance(encoder, nn.Module):
            reset_net(encoder)
        return encoder(x, T), torch.default_generator.get_state()


@check(
    "test set chooses",
    severity="error",
    remedy="Choose epochs and settings on validation data (monitor.metric=val/…), and look at the test once.",
    source="github.com/lisiqi19971013/EventStream-SR/issues/7; github.com/titu1994/LSTM-FCN/issues/7",
)
def chosen_by_test(monitors: dict[str, str], validation: Any = None, test: Any = None) -> Iterator[Seen]:
    """The best epoch, or an early stop, is chosen by a metric of the test, or the validation samples are the test's.

    Args:
        monitors: where a metric is watched, such as "monitor.metric" → the metric.
        validation, test: their snntrain.audit.data.Samples; None: not known.
    """
    for place, metric in monitors.items():
        if metric.lower().partition("/")[0].partition("_")[0] == "test":
            yield Seen(place, f"{place}={metric} is measured on the test set.")
    if validation is not None and test is not None and validation.hashes:
        common = sum(len(validation.hashes[digest]) for digest in validation.hashes.keys() & test.hashes.keys())
        if common >= 0.5 * validation.looked_at:
            yield Seen("data.val", f"{common / validation.looked_at:.0%} of the validation samples are test samples.")


@check(
    "padded steps count",
    severity="error",
    remedy="Leave the steps after the end of a sequence out of readout, loss and metrics: "
    "snntrain.functional.real_steps tells which are real.",
    source="github.com/cs230-stanford/cs230-code-examples/issues/13; github.com/keras-team/keras/issues/4752",
)
def padded_steps_count(
    measures: dict[str, Callable[[Tensor], Tensor]], y_seq: Tensor, lengths: Tensor
) -> Iterator[Seen]:
    """Scores, losses or metrics that change with outputs after the end of a sequence.

    Args:
        measures: name → function of outputs [T, N, K].
        y_seq: outputs [T, N, K].
        lengths: real steps of each sample, int64 [N].
    """
    padded = ~real_steps(lengths, len(y_seq))
    if not bool(padded.any()):
        return
    other = y_seq.clone()
    other[padded] = torch.rand(other[padded].shape, generator=torch.Generator().manual_seed(1)).to(other) * 10 - 5
    for name, measure in measures.items():
        before, after = measure(y_seq).double(), measure(other).double()
        if not torch.equal(before.nan_to_num(), after.nan_to_num()):
            apart = float((before - after).abs().max())
            yield Seen(
                name, f"With other outputs at {int(padded.sum()):,} padded steps, it changes by up to {apart:.3g}."
            )
