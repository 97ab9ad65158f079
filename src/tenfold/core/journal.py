"""Where a training tells how it goes. The science calls a `Journal`; what keeps it (MLflow, a test) is handed in."""

from collections.abc import Mapping
from typing import Protocol


class NetworkJournal(Protocol):
    """Diary of one network in training."""

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """One epoch (from 1) is done. A resumed training may tell the same epoch again, with the same values."""

    def done(self, metrics: Mapping[str, float]) -> None:
        """The network is trained; `metrics` are its final numbers."""


class Journal(Protocol):
    """Opens the diary of each network that a training makes."""

    def network(self, variant: str, seed: int, params: Mapping[str, object]) -> NetworkJournal:
        """Diary of the network of this variant ("" for the full one) and seed, trained with `params`."""


class _NullNetworkJournal:
    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        return None

    def done(self, metrics: Mapping[str, float]) -> None:
        return None


class NullJournal:
    """Keeps nothing."""

    def network(self, variant: str, seed: int, params: Mapping[str, object]) -> NetworkJournal:
        return _NullNetworkJournal()
