"""Files of random weights in the layouts of VGG-16 that LPIPS can rest on."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import torch
from torch import Tensor

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions, by block."""


def convolutions(seed: int = 0) -> list[list[tuple[Tensor, Tensor]]]:
    """Kernels [out, in, 3, 3] and biases [out], by block."""
    generator = torch.Generator().manual_seed(seed)
    blocks, inputs = [], 3
    for widths in WIDTHS:
        blocks.append([])
        for width in widths:
            shape, deviation = (width, inputs, 3, 3), math.sqrt(2 / (9 * inputs))
            kernel = deviation * torch.randn(shape, generator=generator)
            blocks[-1].append((kernel, 0.1 * torch.randn(width, generator=generator)))
            inputs = width
    return blocks


def write_vgg(path: Path) -> Path:
    """A state dict with torchvision's names."""
    weights, layer = {}, 0
    for block in convolutions():
        for kernel, bias in block:
            weights |= {f"features.{layer}.weight": kernel, f"features.{layer}.bias": bias}
            layer += 2  # past the ReLU
        layer += 1  # past the pooling
    torch.save(weights, path)
    return path


def write_hed(path: Path) -> Path:
    """HED's as Keras writes it: kernels are [height, width, in, out]."""
    with h5py.File(path, "w") as file:
        for number, block in enumerate(convolutions(), 1):
            for place, (kernel, bias) in enumerate(block):
                layer = "conv2d" if place == 0 else f"conv2d_{place}"
                folder = file.create_group(f"block{number}/layers/{layer}/vars")
                folder["0"], folder["1"] = kernel.permute(2, 3, 1, 0), bias
        file["dsn1/vars/0"] = torch.zeros(1, 1, 64, 1)
    return path
