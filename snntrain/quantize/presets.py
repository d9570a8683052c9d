"""Named settings for prepare."""

from typing import Any

from snntrain.registry import did_you_mean

_FREE = {"quantype": "fake", "bits": 8}
_LEAST_ERROR = {"range_setting": "MSE_simulation"}

#: name → quant. wXvY: weights of X bits, potentials of Y bits, inputs of 8, steps free, one for each channel.
PRESETS: dict[str, dict[str, Any]] = {
    "int8": dict(_FREE),
    "w4v8": {**_FREE, "w": {"bits": 4, **_LEAST_ERROR}},
    "w4v4": {**_FREE, "w": {"bits": 4, **_LEAST_ERROR}, "v": {"bits": 4}},
    "w2v4": {**_FREE, "w": {"bits": 2, **_LEAST_ERROR}, "v": {"bits": 4}},
    # Lava's fixed-point CUBA neuron: weights are 2·W, even in [−256, 254], potentials of 24 bits, biases 2·b of 13.
    "loihi": {
        **_FREE,
        "granularity": "tensor",
        "w": {"bits": 8},
        "v": {"bits": 24, "roundtype": "floor"},
        "input": {"bits": 5},  # currents stay below 2^23, and biases of few bits are not too small beside them
        "bias": {"bits": 12},
        "target": "loihi",
    },
    # No multiplication but that of weights, and with spikes not even that: powers of two, and leaks that shift.
    "mcu": {"bits": 8, "quantype": "fxp", "granularity": "tensor", "leak": "shift", "v": {"bits": 16}},
}


def preset(name: str) -> dict[str, Any]:
    """A copy of the settings of that name.

    Raises: ValueError with the nearest name if there is none.
    """
    if name not in PRESETS:
        raise ValueError(f"{name!r} is not a preset.{did_you_mean(name, PRESETS)} Presets: {', '.join(PRESETS)}.")
    return {key: dict(value) if isinstance(value, dict) else value for key, value in PRESETS[name].items()}
