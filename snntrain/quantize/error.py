"""The error of a net, or a part of one, that cannot be quantized."""


class QuantizationError(ValueError):
    """A net, or a part of it, that cannot be quantized; the text names the place, its type and a way out."""


def refusal(name: str, kind: str, reason: str, remedy: str) -> QuantizationError:
    """The error that every refusal of a part raises."""
    return QuantizationError(f"quantize: {name} ({kind}) cannot be quantized: {reason}. {remedy}")
