"""One gradient step: of a process alone, and of several that share each batch."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch import distributed as group
from torch.optim import Optimizer

from tenfold.core import distributed
from tenfold.core.errors import BadData, UsageError

Indices = npt.NDArray[np.int64]
Loss = Callable[[Indices], dict[str, Tensor]]

# Among the values of a loss this one is no loss: how much these items count against those of other processes.
WEIGHT = "weight"


def train_step(module: nn.Module, optimizer: Optimizer, loss: Loss, index: Indices) -> dict[str, float] | None:
    """One gradient step on the items `index` `(batch,)`; None, and no change of the weights, if a value is not finite."""
    values, _ = _gradients(optimizer, loss, index)
    if not all(map(math.isfinite, values.values())):
        return None
    optimizer.step()
    return values


class SharedSteps:
    """Steps of one module in several processes: each computes its share of the batch, all take the same step.

    The gradient is the mean of the shares' gradients, weighted by their items, or by what the loss gives as "weight": with that a
    step is the one that a single process would take on the whole batch, but for the order of float sums and for random draws.
    Buffers follow the first process, as batch statistics are taken over its share.
    """

    def __init__(self, module: nn.Module, optimizer: Optimizer, loss: Loss) -> None:
        self._module, self._optimizer, self._loss = module, optimizer, loss
        self._parameters = [parameter for each in optimizer.param_groups for parameter in each["params"]]
        self._names: list[str] | None = None
        distributed.copy_first(module.state_dict().values())

    def step(self, index: Indices, stop: bool, not_finite: Callable[[Indices], str]) -> tuple[dict[str, float], bool]:
        """A step on the items `index` `(batch,)` of the whole batch: its values, and whether any process was asked to `stop`.

        Raises in every process what was raised in one; BadData with `not_finite(its items)` for a value that is not finite.
        """
        here = distributed.world()
        share = np.array_split(index, here.size)[here.rank]
        values, weight, failure = self._share(share, not_finite)
        if self._names is None:
            self._names = distributed.agree(list(values))  # the first share is never empty
        if failure is None and len(share) and list(values) != self._names:
            failure = UsageError(
                f"training: the loss gave {', '.join(values)} in one process or step, {', '.join(self._names)} in another."
            )
        told = [weight * values.get(name, 0.0) for name in self._names]
        present = [float(parameter.grad is not None) for parameter in self._parameters]
        sums = distributed.control([float(failure is not None), float(stop), weight, *told, *present])
        group.all_reduce(sums)
        failures, stops, total, *rest = sums.tolist()
        if failures:
            distributed.end_together(failure)
        # a parameter that no share touched keeps no gradient: the optimizer leaves it alone, as it would for a single process
        touched = [parameter for parameter, count in zip(self._parameters, rest[len(told) :], strict=True) if count]
        distributed.sum_gradients(touched, weight / total)
        self._optimizer.step()
        distributed.copy_first(self._module.buffers())
        return {name: value / total for name, value in zip(self._names, rest, strict=False)}, bool(stops)

    def _share(self, share: Indices, not_finite: Callable[[Indices], str]) -> tuple[dict[str, float], float, Exception | None]:
        if not len(share):
            self._optimizer.zero_grad(set_to_none=True)
            return {}, 0.0, None
        try:
            values, weight = _gradients(self._optimizer, self._loss, share)
        except Exception as error:  # the others must hear of it before it is raised
            return {}, 0.0, error
        if not all(map(math.isfinite, values.values())):
            return values, weight, BadData(not_finite(share))
        return values, weight, None


def _gradients(optimizer: Optimizer, loss: Loss, index: Indices) -> tuple[dict[str, float], float]:
    """Backward pass of the loss of these items: its values, and their weight."""
    given = loss(index)
    losses = {name: value for name, value in given.items() if name != WEIGHT}
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    # One transfer for all values, after the backward pass has been queued: a GPU is not kept waiting for it.
    values = torch.stack([value.detach().reshape(()) for value in losses.values()]).tolist()
    weight = float(given[WEIGHT]) if WEIGHT in given else float(len(index))
    return dict(zip(losses, values, strict=True)), weight
