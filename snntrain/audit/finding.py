"""What an audit says, and how a check says it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

SEVERITIES = ("error", "warning", "info")
"""An error makes results wrong or impossible to repeat; a warning may; an info is worth knowing."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that an audit found.

    Attributes:
        check: name of the check.
        layer: dotted path of the module, or the part of the run ("data", "encoder"); "" for the whole net.
        severity: one of SEVERITIES.
        evidence: what was measured, in a sentence.
        remedy: what to do, in a sentence.
        source: the report or paper that describes such a fault.
    """

    check: str
    layer: str
    severity: str
    evidence: str
    remedy: str
    source: str


@dataclass(frozen=True)
class Seen:
    """What a check found, before the check adds its own name, remedy and source.

    Args:
        layer, evidence: as in Finding.
        severity, remedy: in the place of those of the check; None: those of the check.
    """

    layer: str
    evidence: str
    severity: str | None = None
    remedy: str | None = None


@dataclass(frozen=True)
class Check:
    """A check: called with what it looks at, it returns its findings.

    Attributes:
        name: as findings give it.
        severity: of its findings as a rule.
        remedy, source: as in Finding.
        look: what it looks at → what it saw.
    """

    name: str
    severity: str
    remedy: str
    source: str
    look: Callable[..., Iterable[Seen]]

    @property
    def purpose(self) -> str:
        """What it looks for, in a sentence."""
        return (self.look.__doc__ or "").strip().partition("\n")[0]

    def __call__(self, *looked_at: Any, **more: Any) -> list[Finding]:
        return [self._finding(seen) for seen in self.look(*looked_at, **more)]

    def _finding(self, seen: Seen) -> Finding:
        return Finding(
            check=self.name,
            layer=seen.layer,
            severity=seen.severity or self.severity,
            evidence=seen.evidence,
            remedy=seen.remedy or self.remedy,
            source=self.source,
        )


def check(name: str, *, severity: str, remedy: str, source: str) -> Callable[[Callable[..., Iterator[Seen]]], Check]:
    """Decorator that makes a check of a generator of Seen."""
    return lambda look: Check(name, severity, remedy, source, look)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then infos; within each as they were found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def counted(findings: Iterable[Finding]) -> dict[str, int]:
    """Severity → how many findings have it."""
    found = [finding.severity for finding in findings]
    return {severity: found.count(severity) for severity in SEVERITIES}
