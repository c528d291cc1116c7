"""What a person sees of a stage: a progress bar, TensorBoard, and a line at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

SHOWN = 4  # samples in a picture


class Measure(NamedTuple):
    """How good a network is.

    Attributes:
        key: in TensorBoard.
        label: for people.
        form: how a value is told.
    """

    key: str
    label: str
    form: str


PSNR = Measure("psnr", "PSNR", "{:.2f} dB")


class Progress:
    """Reports of the first process; the other processes' say nothing."""

    def __init__(
        self, name: str, folder: Path, start: int, steps: int, measure: Measure, silent: bool
    ) -> None:
        self.measure = measure
        self.name, self.start, self.steps, self.silent = name, start, steps, silent
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self._began = self._logged_at = time.perf_counter()
        self._logged, self._waited = start, 0.0
        self._sums: dict[str, Tensor] = {}
        self._taken = 0
        if not silent:
            self._bar = tqdm(
                total=steps,
                initial=start,
                desc=name,
                unit="step",
                dynamic_ncols=True,
                mininterval=1,
            )
            # A run that goes on writes over what it had written past its last checkpoint.
            self._writer = SummaryWriter(folder, purge_step=start)

    def took(self, **losses: Tensor) -> None:
        """A step with these losses was taken, not skipped."""
        self._taken += 1
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach()

    def advance(self, waited: float) -> None:
        """A step is done, of which so many seconds were spent waiting for samples."""
        self._waited += waited
        if not self.silent:
            self._bar.update()

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Write a step's numbers, and the losses' means and the speed since the last time."""
        now = time.perf_counter()
        spent, done = now - self._logged_at, step - self._logged
        values = {
            **values,
            **{name: float(total) / self._taken for name, total in self._sums.items()},
        }
        self._sums, self._taken = {}, 0
        speed = {"steps_per_s": done / spent, "waiting_for_data": self._waited / spent}
        self._logged_at, self._logged, self._waited = now, step, 0.0
        self.first = self.first or dict(values)
        self.last = {**self.last, **values}
        if self.silent:
            return
        for name, value in {**values, **speed}.items():
            self._writer.add_scalar(name, value, step)
        told_of = ("loss", self.measure.key)
        told = [f"{name}={values[name]:.3g}" for name in told_of if name in values]
        self._bar.set_postfix_str(", ".join(told), refresh=False)

    def validation(self, step: int, value: float | None) -> None:
        """Write the measure of held-out objects, if there are any."""
        if value is None:
            return
        name = f"val_{self.measure.key}"
        self.last[name] = value
        if not self.silent:
            self._writer.add_scalar(name, value, step)
            self.say(
                f"{self.name}, step {step}: {self.measure.form.format(value)} on held-out objects"
            )

    def pictures(
        self, step: int, **columns: Float[Tensor, "B 3 S S"] | Float[Tensor, "B T 3 S S"]
    ) -> None:
        """Draw a row a sample: the first view of each of these columns."""
        if self.silent:
            return
        first = [c[:, 0] if c.ndim == 5 else c for c in columns.values()]
        row = torch.cat([c[:SHOWN].detach().float().cpu() for c in first], dim=-1)
        self._writer.add_image("_".join(columns), torch.cat(list(row), dim=-2).clamp(0, 1), step)

    def say(self, text: str) -> None:
        if not self.silent:
            self._bar.write(text)

    def close(self, **extra: Any) -> None:
        """The bar and the files; and a line that says how the stage went."""
        if self.silent:
            return
        self._bar.close()
        self._writer.close()
        spent = time.perf_counter() - self._began
        changes = [
            f"{label} {self.first[name]:.4g} to {self.last[name]:.4g}"
            for name, label in (("loss", "loss"), (self.measure.key, self.measure.label))
            if name in self.first
        ]
        told = [*changes, *(f"{name} {value}" for name, value in extra.items())]
        print(
            f"{self.name}: {', '.join(told)}; steps {self.start} to {self._logged} in {spent:.0f} s"
        )
