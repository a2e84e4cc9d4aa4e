"""What the readers return: the RoPEs of a source by name, and the report of each."""

from collections.abc import Iterable
from dataclasses import replace

from ropecore.config import RopeConfig
from ropecore.report import Fact, Report


class Ropes(dict[str, RopeConfig | None]):
    """RoPEs by name, "part" or "part/layer_type", None for what does not rotate.

    reports: how each was read; of what does not rotate, why.  unread: parts of the source that
    nothing here can read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reports: dict[str, Report] = {}
        self.unread: tuple[Fact, ...] = ()

    def add(self, name: str, config: RopeConfig | None, report: Report) -> None:
        """Add a RoPE, or what does not rotate."""
        self[name], self.reports[name] = config, report

    def leave_out(self, unread: Iterable[Fact]) -> None:
        """Say in every report which parts were not read."""
        self.unread = tuple(unread)
        if not self.unread:
            return
        for name, config in self.items():
            report = self.reports[name]
            notes = tuple(f"{fact.key} ({fact.value or 'no model_type'}) {fact.why}: left out" for fact in self.unread)
            report = replace(report, unread=self.unread, notes=(*report.notes, *notes))
            self.reports[name] = report
            if config is not None:
                self[name] = config.replace(report=report)
