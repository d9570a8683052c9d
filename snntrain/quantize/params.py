"""QuantParams: the mapping that says how tensors are quantized, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from snntrain.arguments import flag, integer, invalid, real
from snntrain.registry import did_you_mean

#: Kinds of tensors: outputs, potentials (with the neuron's hyper-parameters), inputs, weights, biases.
KINDS = ("act", "v", "input", "w", "bias")

_CHOICES = {
    "quantype": ("fxp", "fake"),
    "roundtype": ("nearest", "floor", "ceil"),
    "range_setting": ("minmax", "MSE_simulation", "MSE_analysis"),
    "granularity": ("channel", "tensor"),
    "mode": ("integer", "qualia"),
    "overflow": ("saturate", "wrap"),
    "leak": ("multiply", "shift"),
}
_FLAGS = ("LSQ", "is_asymmetric", "quant_enable")
_OF_THE_LAYER = ("mode", "overflow", "leak", "margin")  # what a layer or a neuron does, not one of its tensors


@dataclass(frozen=True, kw_only=True)
class QuantParams:
    """How the tensors of a layer or a neuron are quantized; from YAML or a dict with `QuantParams.of`.

    Args:
        bits: 2–32, of signed integers in [−2^(b−1), 2^(b−1) − 1].
        quantype: 'fxp', fixed point: the step is a power of two; 'fake': any step. The default is 'fxp'.
        roundtype: 'nearest' (floor(a + ½), ties up), 'floor' or 'ceil'.
        range_setting: 'minmax', or the range of least squared error: 'MSE_simulation' tries ranges on the tensor,
            'MSE_analysis' takes its values for normally distributed.
        LSQ: the step is a parameter that is trained.
        is_asymmetric: the range need not be symmetric about 0; for 'fake' without LSQ.
        force_q: fractional bits, whatever the range; None: from the range.
        quant_enable: False leaves tensors as they are.
        granularity: of weights: a step for each output channel, or one for the tensor.
        power_of_two: another name for quantype: True is 'fxp', False 'fake'.
        mode: 'integer', or 'qualia': with the arithmetic of qualia-plugin-snn 2.6.0.
        overflow: potentials that do not fit 'saturate' or 'wrap' (two's complement).
        leak: 'multiply' (and shift), or 'shift' alone: 1/tau becomes a power of two.
        margin: largest potential in thresholds that must at least fit, ≥ 1.
        act, v, input, w, bias: keys that are different for tensors of this kind; not mode, overflow, leak, margin.

    Source: Novac et al., Sensors 2021, 10.3390/s21092984 (Qualia); Esser et al., ICLR 2020, arXiv 1902.08153 (LSQ).
    """

    bits: int = 8
    quantype: str | None = None
    roundtype: str = "nearest"
    range_setting: str = "minmax"
    LSQ: bool = False
    is_asymmetric: bool = False
    force_q: int | None = None
    quant_enable: bool = True
    granularity: str = "channel"
    power_of_two: bool | None = None
    mode: str = "integer"
    overflow: str = "saturate"
    leak: str = "multiply"
    margin: float = 2.0
    act: Mapping[str, Any] | None = None
    v: Mapping[str, Any] | None = None
    input: Mapping[str, Any] | None = None
    w: Mapping[str, Any] | None = None
    bias: Mapping[str, Any] | None = None
    title: str = field(default="quant_params", repr=False, compare=False)

    def __post_init__(self) -> None:
        self._settle_quantype()
        if integer(self.title, "bits", self.bits) not in range(2, 33):
            raise invalid(self.title, "bits", "an integer from 2 to 32", self.bits)
        for name, allowed in _CHOICES.items():
            _one_of(self.title, name, getattr(self, name), allowed)
        for name in _FLAGS:
            flag(self.title, name, getattr(self, name))
        if self.force_q is not None:
            integer(self.title, "force_q", self.force_q)
        real(self.title, "margin", self.margin, at_least=1)
        if self.is_asymmetric and (self.quantype != "fake" or self.LSQ):
            raise ValueError(f"{self.title}: is_asymmetric needs quantype 'fake' without LSQ.")
        if self.LSQ and self.force_q is not None and self.mode == "integer":
            raise ValueError(f"{self.title}: LSQ learns the step that force_q {self.force_q} fixes; give one of them.")
        for kind in KINDS:
            if getattr(self, kind) is not None:
                object.__setattr__(self, kind, plain(getattr(self, kind), f"{self.title}.{kind}"))
                self.kind(kind)

    @classmethod
    def of(cls, quant_params: "Mapping[str, Any] | QuantParams") -> "QuantParams":
        """The parameters that a mapping names, also one of OmegaConf's; a QuantParams passes unchanged."""
        if isinstance(quant_params, QuantParams):
            return quant_params
        given = plain(quant_params, "quant_params")
        known = [entry.name for entry in fields(cls) if entry.name != "title"]
        _check_keys(given, known, "quant_params")
        return cls(**given)

    def kind(self, kind: str) -> "QuantParams":
        """The parameters of tensors of one kind: 'act', 'v', 'input', 'w' or 'bias'."""
        own = getattr(self, _one_of(self.title, "kind", kind, KINDS)) or {}
        title = f"{self.title}.{kind}"
        merged = {name: value for name, value in self.as_dict().items() if name not in KINDS}
        for name in own:
            if name in _OF_THE_LAYER:
                raise ValueError(f"{title}: {name} holds for all kinds of tensors; give it beside {kind}, not in it.")
        _check_keys(own, [name for name in merged if name not in _OF_THE_LAYER], title)
        if "quantype" in own or "power_of_two" in own:
            del merged["quantype"], merged["power_of_two"]
        return QuantParams(**merged | own, title=title)

    def as_dict(self) -> dict[str, Any]:
        """The mapping again, with all defaults; `QuantParams.of` reads it."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "title"}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}

    @property
    def smallest(self) -> int:
        """The smallest integer, −2^(b−1)."""
        return -(2 ** (self.bits - 1))

    @property
    def largest(self) -> int:
        """The largest integer, 2^(b−1) − 1."""
        return 2 ** (self.bits - 1) - 1

    def _settle_quantype(self) -> None:
        """Make quantype and power_of_two say the same."""
        if self.power_of_two is not None:
            flag(self.title, "power_of_two", self.power_of_two)
        quantype = self.quantype
        if quantype is None:
            quantype = "fake" if self.power_of_two is False else "fxp"
        power_of_two = _one_of(self.title, "quantype", quantype, _CHOICES["quantype"]) == "fxp"
        if self.power_of_two not in (None, power_of_two):
            raise ValueError(
                f"{self.title}: quantype {quantype!r} and power_of_two {self.power_of_two} contradict each other; "
                "give one of them."
            )
        object.__setattr__(self, "quantype", quantype)
        object.__setattr__(self, "power_of_two", power_of_two)


def _one_of(title: str, name: str, value: Any, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        expected = "one of " + ", ".join(map(repr, allowed))
        raise ValueError(f"{invalid(title, name, expected, value)}{did_you_mean(value, allowed)}")
    return value


def plain(mapping: Any, title: str) -> dict[str, Any]:
    """A dict of dicts, not OmegaConf's containers, which checkpoints could not hold."""
    if not isinstance(mapping, Mapping):
        raise invalid(title, "the value", "a mapping such as {bits: 8, roundtype: nearest}", mapping)
    return {
        str(key): plain(value, f"{title}.{key}") if isinstance(value, Mapping) else value
        for key, value in mapping.items()
    }


def _check_keys(given: Mapping[str, Any], known: list[str], title: str) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{title}: {name!r} is not a key.{did_you_mean(name, known)} Keys: {', '.join(known)}.")
