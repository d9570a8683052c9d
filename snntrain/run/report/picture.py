"""Samples as pictures."""

import numpy as np


def picture(sample: np.ndarray) -> np.ndarray:
    """A sample as gray values [H, W] or colors [H, W, 3] in [0, 1].

    Args:
        sample: [H, W], [C, H, W] or a sequence [T, C, H, W], which is summed. Three channels are shown as RGB, two as
            OFF (red) and ON (blue) events, any other number by their mean.
    """
    sample = np.nan_to_num(np.asarray(sample, dtype=float))
    if sample.ndim == 4:
        sample = sample.sum(axis=0)
    if sample.ndim == 3 and len(sample) == 2:
        off, on = sample / max(np.abs(sample).max(), 1e-12)
        ground = np.ones((*on.shape, 3))
        for strength, color in ((on, (0.18, 0.43, 0.70)), (off, (0.80, 0.22, 0.17))):
            ground -= np.clip(strength, 0, 1)[..., None] * (1 - np.array(color))
        return ground.clip(0, 1)
    values = np.moveaxis(sample, 0, -1) if sample.ndim == 3 and len(sample) == 3 else sample
    values = values.mean(axis=0) if values is sample and sample.ndim == 3 else values
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
