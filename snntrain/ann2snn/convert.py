"""From a trained net to a spiking one for few time steps, in one call."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from snntrain.ann2snn.calibration import calibrate, corrections
from snntrain.ann2snn.converted import RESETS, SpikingNet, to_spiking
from snntrain.ann2snn.graph import prepare
from snntrain.ann2snn.method import METHODS, Method, make_method
from snntrain.ann2snn.report import ConversionReport
from snntrain.arguments import choice, integer, invalid
from snntrain.graph import input_of


@torch.inference_mode(False)  # tensors made in it could not be trained later
def convert(
    ann: nn.Module,
    loader: Iterable[Any],
    method: str | Method = "channel_mse",
    T: int = 8,
    calibration: str = "bias",
    calibration_steps: int = 3,
    batches: int | None = None,
    device: torch.device | str | None = None,
    reset: str = "soft",
) -> SpikingNet:
    """Convert a trained net of ReLUs to integrate-and-fire neurons, and calibrate it for T time steps.

        snn = convert(ann, loader, T=8)
        logits = snn.predict(images, T=8)
        print(snn.report)

    The net stays as it is.

    Args:
        ann: its forward takes one tensor [N, *] and returns one.
        loader: batches x, or (x, …), of calibration data; it is gone through several times.
        method: how thresholds are chosen: a name in METHODS, or a Method.
        T: time steps that the result is to run.
        calibration: corrections joined by '+', or 'none'; see calibrate.
        calibration_steps: passes through the data for each correction.
        batches: take only that many, once, and keep them in memory; None: stream them all at each pass.
        device: where to convert, and where the result is put; None: where the net is.
        reset: of the neurons, see to_spiking; 'hard' for chips that know no other, at the price of accuracy.

    Returns: the converted net, its `report` filled in.
    Raises: ConversionError naming a node that cannot be converted.
    """
    T = integer("convert", "T", T, at_least=1)
    check_reset("convert", reset, calibration)
    chosen = make_method(method)
    data = _repeatable(loader, batches)
    first = next(iter(data), None)
    if first is None:
        raise ValueError("convert: the loader has no batches.")
    gm = prepare(ann, input_of(first))
    if device is not None:
        gm.to(device)
    settings = chosen.fit(gm, data, T, device)
    snn = to_spiking(gm, settings, reset)
    snn.readout_start = chosen.readout_start
    calibrate(gm, snn, data, T, calibration_steps, calibration)
    name = next((name for name, kind in METHODS.items() if type(chosen) is kind), type(chosen).__name__)
    how = {"method": name, "T": T, "calibration": calibration} | ({"reset": reset} if reset != "soft" else {})
    snn.report = ConversionReport.of(gm, snn, how, {name: setting.note for name, setting in settings.items()})
    return snn


def check_reset(owner: object, reset: str, calibration: str) -> str:
    """The reset, if it is known and leaves every correction something to correct."""
    choice(owner, "reset", reset, RESETS)
    corrections(calibration)
    if reset == "hard" and "potential" in calibration.split("+"):
        expected = "without 'potential' where reset is 'hard', as all neurons then start at 0"
        raise invalid(owner, "calibration", expected, calibration)
    return reset


def _repeatable(loader: Iterable[Any], batches: int | None) -> Iterable[Any]:
    if batches is not None:
        return list(itertools.islice(loader, integer("convert", "batches", batches, at_least=1)))
    if isinstance(loader, Iterator):
        expected = "a DataLoader or a list, which can be gone through several times, or batches must be a number"
        raise invalid("convert", "loader", expected, type(loader).__name__)
    return loader
