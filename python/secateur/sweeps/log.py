"""What a sweep writes its records to."""

from __future__ import annotations

from typing import Protocol

from secateur.sweeps.records import Record


class Log(Protocol):
    """Knows the records of earlier runs, and keeps those of this one."""

    def find(self, key: str) -> Record | None:
        """Return the last record of `key` among those of earlier runs."""

    def append(self, record: Record) -> None:
        """Keep `record`."""

    def close(self) -> None:
        """Let go of what the log holds open."""


class Memory:
    """The log of a sweep without a journal: `records`, which knows of no earlier run."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def find(self, key: str) -> None:
        """Return None."""

    def append(self, record: Record) -> None:
        """Keep `record`."""
        self.records.append(record)

    def close(self) -> None:
        """Do nothing."""
