"""Muon (Jordan et al., 2024): momentum whose every singular value is made one, so that a step moves
all directions of a layer's weights alike, not only the few that gradients are large in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)
"""a x + b x³ + c x⁵, five times over, takes all of (0, 1] near 1 (Jordan et al.)."""
ITERATIONS = 5
AS_ADAM = 0.2
"""The root mean square of a step of Adam, which steps are given here, so that both can share a
learning rate (Liu et al., "Muon is Scalable for LLM Training", 2025)."""


class Muon(torch.optim.Optimizer):
    """For the weights of linear layers and convolutions; a filter counts as one row.

    Args:
        weights: each [out, in, ...]; all have gradients at every step.
        lr: the learning rate, as of AdamW.
        momentum: decay of the running mean of gradients, of which Nesterov's step is taken.
        weight_decay: decoupled, as AdamW's.
    """

    def __init__(
        self,
        weights: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._orthogonal = [Orthogonal(group["params"]) for group in self.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group, orthogonal in zip(self.param_groups, self._orthogonal, strict=True):
            weights: list[Tensor] = group["params"]
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            means = [self._mean(weight) for weight in weights]
            torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, means, group["momentum"])
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, orthogonal(ahead), alpha=-group["lr"])

    def _mean(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight)
        return state["mean"]


class Orthogonal:
    """Makes steps of gradients: `orthogonal_factors`, as large as Adam's steps are. Those of one
    shape are worked on at once, and on CUDA all of it is recorded as a graph at first use: it is
    many small products."""

    def __init__(self, like: Sequence[Tensor]) -> None:
        """
        Args:
            like: tensors of the gradients' shapes, in their order.
        """
        self.shapes = [tensor.shape for tensor in like]
        alike: dict[torch.Size, list[int]] = {}
        for number, shape in enumerate(self.shapes):
            alike.setdefault(shape, []).append(number)
        self.stacks = [
            torch.zeros(len(numbers), shape[0], shape[1:].numel(), device=like[0].device)
            for shape, numbers in alike.items()
        ]
        order = [number for numbers in alike.values() for number in numbers]
        self.places = sorted(range(len(order)), key=order.__getitem__)
        self.inputs = self._apart(self.stacks)
        self.recording: tuple[torch.cuda.CUDAGraph, list[Tensor]] | None = None

    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        torch._foreach_copy_(self.inputs, list(gradients))
        if not gradients[0].is_cuda:
            return self._steps()
        if self.recording is None:
            self.recording = self._recorded()
        graph, steps = self.recording
        graph.replay()
        return steps

    def _steps(self) -> list[Tensor]:
        return self._apart(
            [AS_ADAM * max(x.shape[1:]) ** 0.5 * orthogonal_factors(x) for x in self.stacks]
        )

    def _recorded(self) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._steps()  # libraries choose their kernels
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # The thread that pins samples may go on asking CUDA for things meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            steps = self._steps()
        return graph, steps

    def _apart(self, stacks: Sequence[Tensor]) -> list[Tensor]:
        """Views of each gradient's place in the stacks."""
        rows = [row for stack in stacks for row in stack]
        places = zip(self.places, self.shapes, strict=True)
        return [rows[place].view(shape) for place, shape in places]


def orthogonal_factors(
    matrices: Float[Tensor, "N rows columns"],
) -> Float[Tensor, "N rows columns"]:
    """Nearly U Vᵀ of each matrix's U S Vᵀ: singular values between 0.7 and 1.2, by Newton and
    Schulz's iteration."""
    a, b, c = QUINTIC
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    if x.is_cuda:
        x = x.bfloat16()
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x if wide else x.mT).to(matrices.dtype)
