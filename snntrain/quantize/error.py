"""The error of a net that cannot be quantized."""

from snntrain.graph import NetError


class QuantizationError(NetError):
    """A net, or a part of it, that cannot be quantized; the text names the place, its type and a way out."""

    owner, action = "quantize", "quantized"
