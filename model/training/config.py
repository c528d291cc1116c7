"""The settings of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from model.click_to_part import ClickToPartConfig
from model.training.augmentation import Augmentation

StageName = Literal["reconstruct", "motion", "appearance"]
STAGES: tuple[StageName, ...] = ("reconstruct", "motion", "appearance")
FREE_TO_CHANGE = {
    *("data", "also", "out", "stage", "init", "teacher", "split_file", "vgg_weights", "parts"),
    *("device", "workers", "compile", "capture", "val_samples"),
    *("log_every", "pictures_every", "checkpoint_every", "keep"),
}


@dataclass(frozen=True)
class TrainConfig:
    """Train PartRM on the shards that `make dataset` writes."""

    data: Path
    """Folder of shards."""
    out: Path
    """Folder of the run. Each stage has a folder there: checkpoints, TensorBoard's events, and at
    the end weights.safetensors. Started again, a run goes on from its last checkpoint."""
    stage: Literal["reconstruct", "motion", "appearance", "all", "parts", "views"] = "all"
    """reconstruct: what it sees, no drags; motion: by distillation, the reconstructor's Gaussians
    of the target state; appearance: by rendering; all: these in turn, each from the one before;
    parts: not PartRM, but the network that finds the part that was clicked on; views: nor that,
    but Zero123++, which makes the other input views of the first."""
    preset: Literal["big", "small", "tiny", "mini", "nano"] = "mini"
    """The network's shape."""
    init: Path | None = None
    """Weights to start from, ours or published. Default: those of the stage before in this run; the
    first stage starts from scratch. Of stage views a folder in Zero123++'s layout, or its name on
    the hub; default: the published one."""
    teacher: Path | None = None
    """The reconstructor that stage motion learns from. Default: the one of this run."""
    parts: ClickToPartConfig = field(default_factory=ClickToPartConfig)
    """The shape of the network of stage parts."""
    view_size: int = 320
    """Pixels along a side of the views that stage views draws."""
    drag_levels: tuple[int, ...] | None = None
    """The U-Net's levels that embed drags, 0 the finest. Default: the preset's, which is all."""
    input_size: int | None = None
    """Pixels along a side of the pictures it is trained on. Default: the preset's."""

    also: tuple[Path, ...] = ()
    """PartRM's stages and parts train on these folders of shards, too: of another rig, of
    contraptions. They are split as the first is; what is held out of them is not measured."""
    shares: tuple[float, ...] = ()
    """How often samples are of `data` and of each of these folders, such as 2 1 1: half of them of
    the first. Default: every sample is drawn as often as any other."""
    split: Literal["train", "all"] = "train"
    """Train on the objects of this split; the split val is measured at every checkpoint."""
    split_file: Path | None = None
    """JSON, {"train": [ids], "val": [ids]}. Default: one object in eight, by its name, is held
    out."""
    categories: tuple[str, ...] = ()
    """Train on these categories alone."""
    drags: int = 10
    """A sample has 1 up to as many drags."""
    augmentation: Augmentation = field(default_factory=Augmentation)

    steps: int = 30_000
    """Of each stage."""
    batch_size: int = 4
    """On each GPU."""
    muon: bool = True
    """Train the weights of hidden layers by Muon, and all else by AdamW: it learns more in a step.
    Without it, or in stage views, AdamW trains all, as published."""
    lr: float = 5e-4
    """The highest learning rate."""
    warmup_steps: int = 3000
    """Steps to get there, at most half of all; then it falls along a cosine (OneCycle)."""
    weight_decay: float = 0.05
    clip: float = 1.0
    """Gradients of a larger norm than this are scaled down."""
    ema: float = 0.999
    """Decay, per step, of the running mean of the weights; that mean is what is saved."""
    bad_steps: int = 10
    """After so many steps in a row whose loss or gradient is not finite, stop."""

    rendered_views: int = 8
    """Views rendered in a step: the input views, and others."""
    lpips: bool = True
    """Whether LPIPS is part of the loss on renderings."""
    lpips_weight: float = 1.0
    lpips_views: int = 8
    """Of so many of the rendered views: on a GPU, LPIPS of eight takes longer than all else."""
    lpips_after: int | None = None
    """The step from which on it is. Default: 1000 where training starts from scratch, which may
    collapse otherwise; else 0."""
    surface_weight: float = 0.1
    """Ours, not the paper's: of the distance of splats from the surface that their pixels show,
    where it is in the target state. 0 leaves it out."""
    surface_points: int = 512
    """Points of the surface in each input view at which that is measured."""
    changed_weight: float = 0.05
    """Ours, too: of stage appearance's squared error over those pixels of the input views at which
    the source and the target state differ, each sample's mean over its own. 0 leaves it out."""
    vgg_weights: Path | None = None
    """File of torchvision's VGG-16 weights, or of HED's, to stand in. Default: torchvision's,
    downloaded at first use."""

    seed: int = 0
    device: str | None = None
    """cuda, cpu, …. Default: CUDA where there is one."""
    precision: Literal["bf16", "fp32"] | None = None
    """Of the network's arithmetic; weights are float32. Default: bf16 on CUDA, fp32 elsewhere."""
    compile: bool = False
    """torch.compile the network; it takes minutes before the first step."""
    capture: bool = True
    """On CUDA in bf16, record PartRM's work as CUDA graphs, unless it is compiled: Python can take
    longer to launch kernels than they run."""
    workers: int = 4
    """Processes that read samples, for each GPU; 0 reads them in the training process."""
    log_every: int = 20
    """Steps between numbers in TensorBoard."""
    pictures_every: int = 500
    """Steps between pictures in TensorBoard."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints to keep."""
    val_samples: int = 16
    """Samples of held-out objects measured at every checkpoint; 0 measures none."""

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"--steps {self.steps}: a schedule has at least 2")
        if self.shares and len(self.shares) != 1 + len(self.also):
            raise ValueError(
                f"--shares {' '.join(map(str, self.shares))}: one for --data and one for each of "
                f"--also, {1 + len(self.also)} in all"
            )
        if not all(share > 0 for share in self.shares):
            raise ValueError("--shares: each is more than 0")
        if self.lpips_views < 1:
            raise ValueError(f"--lpips-views {self.lpips_views}: 1 or more; or --no-lpips")

    def decisive(self) -> dict[str, Any]:
        """The settings on which the trained weights depend, as plain values: a run can only be gone
        on with if they are the same. Weights and data it started from are told by other means."""
        plain = {k: v for k, v in asdict(self).items() if k not in FREE_TO_CHANGE}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}
