"""Audit: look for faults of the trained net, its data and its measurements."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from torch import nn

from snntrain.arguments import choice, integer, real
from snntrain.audit import counted
from snntrain.audit.overflow import TARGETS
from snntrain.callback.auditing import as_record, audit_task, print_findings
from snntrain.callback.fit_end.fit_end import FitEnd, Trained
from snntrain.files import write_json
from snntrain.registry import register


@register("callback")
class Audit(FitEnd):
    """Audit the trained net and the data: see docs/auditing.md for the checks.

    Files: audit.json.

    Args:
        samples: training samples that the net is run on, ≥ 2.
        most: samples of each split that the checks of data look at, ≥ 1.
        fail: 'never', or the least severity that ends the run as failed, 'error' or 'warning'; the trained net and
            what was tested stay.
        target: what potentials are to be kept in, such as 'int24' for Loihi; None: floating point as it is.
        unit: of integer targets, the potential that is counted as 1; > 0.
        common: T, encoder and readout in a plain Trainer, see FitEnd.
    """

    name = "audit"

    def __init__(
        self,
        samples: int = 16,
        most: int = 10_000,
        fail: str = "never",
        target: str | None = None,
        unit: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.samples = integer(self, "samples", samples, at_least=2)
        self.most = integer(self, "most", most, at_least=1)
        self.fail = choice(self, "fail", fail, ("never", "error", "warning"))
        self.target = None if target is None else choice(self, "target", target, tuple(TARGETS))
        self.unit = real(self, "unit", unit, above=0)

    def check(self, net: nn.Module, task: pl.LightningModule, sample_shape: tuple[int, ...]) -> nn.Module:
        return net

    def run(self, trained: Trained, folder: Path, console: Console) -> tuple[nn.Module, dict[str, float]]:
        net = trained.net.eval()
        config = trained.description.get("config", {})
        metric = config.get("monitor", {}).get("metric")
        findings = audit_task(
            trained.task_for(net, trained.T),
            net,
            trained.data.splits,
            samples=self.samples,
            most=self.most,
            trained=True,
            target=self.target,
            unit=self.unit,
            monitors={"monitor.metric": metric} if metric else {},
            classes=config.get("data", {}).get("num_classes"),
            device=trained.device,
        )
        write_json(folder / "audit.json", as_record(findings, samples=self.samples, T=trained.T))
        print_findings(console, findings)
        counts = counted(findings)
        errors, warnings = counts["error"], counts["warning"]
        if self.fail != "never" and (errors or (self.fail == "warning" and warnings)):
            raise RuntimeError(
                f"audit: {errors} errors and {warnings} warnings, and callbacks.{self.name}.fail={self.fail}; see "
                f"{folder / 'audit.json'}. The trained net is not affected."
            )
        return net, {"errors": float(errors), "warnings": float(warnings)}
