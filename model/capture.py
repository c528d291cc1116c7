"""A network on CUDA whose work is recorded once and then replayed, as CUDA graphs.

A small network, or a single picture, keeps a GPU busy for less time than Python takes to launch the
kernels; a replay launches them all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.drag_embedding import Drags

if TYPE_CHECKING:
    from model.partrm import PartRM

Forward = Callable[[Tensor, Drags | None], Tensor]
"""A network as it is called, perhaps captured, compiled or replicated: (images, drags) →
Gaussians."""
TRIALS = 2  # runs before a recording, in which libraries choose their kernels
Recording = tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]


class Captured:
    """Calls a network as it would be called, without gradients, in bf16.

    Each shape of the input is recorded at its first call. Weights are read at every call: they can
    be changed in place. One thread may call it at a time.
    """

    def __init__(self, network: PartRM) -> None:
        self.network = network
        self._recordings: dict[tuple[torch.Size, torch.Size | None], Recording] = {}

    def __call__(
        self, images: Float[Tensor, "B V 9 H W"], drags: Drags | None = None
    ) -> Float[Tensor, "B N 14"]:
        """As `PartRM.forward`."""
        key = images.shape, None if drags is None else drags.mask.shape
        given = [images, *(drags or ())]
        if key not in self._recordings:
            self._recordings[key] = self._recorded(given)
        graph, inputs, output = self._recordings[key]
        for own, tensor in zip(inputs, given, strict=True):
            own.copy_(tensor)
        graph.replay()
        return output.clone()

    @torch.inference_mode(False)
    def _recorded(self, given: list[Tensor]) -> Recording:
        inputs = [tensor.clone() for tensor in given]
        network = _Flat(self.network)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(aside):
            for _ in range(TRIALS):
                network(*inputs)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as those that load samples, may ask CUDA for what they need.
        with torch.no_grad(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = network(*inputs)
        return graph, inputs, output


class CapturedForTraining(nn.Module):
    """Calls a network as it would be called, in bf16, and passes gradients back to its weights.

    Forward and backward are recorded at the first call with drags, and at the first without: all
    others must have that one's shapes. No other thread may use CUDA at that time, and nothing may
    wait for gradients yet, as DistributedDataParallel does: it wraps what has been called once.
    """

    def __init__(self, network: PartRM) -> None:
        super().__init__()
        self.network = network
        self._recordings: dict[bool, nn.Module] = {}

    def forward(
        self, images: Float[Tensor, "B V 9 H W"], drags: Drags | None
    ) -> Float[Tensor, "B N 14"]:
        """As `PartRM.forward`."""
        given = (images, *(drags or ()))
        if (drags is None) not in self._recordings:
            flat: nn.Module = _Flat(self.network)
            with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
                # It exchanges the network's forward. Drags of one view may be the same memory
                # many times over, into which nothing can be copied.
                samples = tuple(tensor.clone() for tensor in given)
                torch.cuda.make_graphed_callables(flat, samples)
            self._recordings[drags is None] = flat
        return self._recordings[drags is None](*given)


class _Flat(nn.Module):
    """A network that takes tensors alone, and computes in bf16. Weights cast to bf16 are not kept
    from one run to the next."""

    def __init__(self, network: PartRM) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, *ends: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            return self.network(images, Drags(*ends) if ends else None)
