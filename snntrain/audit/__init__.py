"""An auditor for spiking nets and their data: what makes results wrong, or impossible to repeat.

It may import the net floor: plain torch, no Lightning, no Hydra.
"""

from snntrain.audit.data import audit_data
from snntrain.audit.finding import SEVERITIES, Check, Finding, counted, in_order
from snntrain.audit.measuring import chosen_by_test, one_seed, padded_steps_count
from snntrain.audit.net import CHECKS, audit

__all__ = [
    "CHECKS",
    "SEVERITIES",
    "Check",
    "Finding",
    "audit",
    "audit_data",
    "chosen_by_test",
    "counted",
    "in_order",
    "one_seed",
    "padded_steps_count",
]
