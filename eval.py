"""Evaluate PartRM: python eval.py [WEIGHTS …] --data FOLDER

Prints the tables, and writes results.json, results.md, contact_sheet.png and, with --video,
turntables of the predicted Gaussians.
"""

from __future__ import annotations

import shlex
import sys

from datagen.shards import Shard, open_shards
from model.click_to_part import ClickToPartNet
from model.device import choose_device, placed
from model.evaluation.cases import DragChoice, check_pictures, choose_cases
from model.evaluation.config import EvalConfig
from model.evaluation.evaluate import Setting, evaluate, rows_to_compare, times_on_cpu
from model.evaluation.pictures import choose_examples, contact_sheet, examples, write_turntables
from model.evaluation.report import markdown, results, write_results
from model.part_masks import load_part_mask
from model.perceptual import Perceptual
from model.program import program
from model.splits import split_shards
from model.video import check_video
from model.views import check_resolution


def run(config: EvalConfig) -> None:
    """Measure, print, write, draw."""
    config.check()
    if config.video:
        check_video()
    device = choose_device(config.device)
    shards, truths = open_data(config)
    part_mask = None
    if config.propagate == "part":
        part_mask = load_part_mask(config.parts, config.sam, device)
    drags = [DragChoice(n, config.propagate, config.seed, part_mask) for n in config.drags]
    rows = rows_to_compare(config.checkpoints, config.teacher, config.input_views, drags, device)
    for row in rows:
        if row.network is not None:
            check_resolution(shards.values(), row.network.config.input_size, str(row.weights))
    cases = choose_cases(shards, config.pairs, truths)
    perceptual = Perceptual(config.vgg_weights).to(device) if config.lpips else None
    parts = placed(ClickToPartNet.from_pretrained(config.parts), device).eval()
    setting = Setting(config.resolution, device, config.fit, config.rigid, parts)

    measured = evaluate(cases, rows, setting, perceptual)
    on_cpu = times_on_cpu(cases, rows, setting, config.cpu_samples) if config.cpu_samples else {}
    command = shlex.join(["python", *sys.argv])
    found = results(command, config, setting, cases, rows, measured, on_cpu)
    write_results(config.folder, found)
    print(markdown(found))

    shown = examples(choose_examples(cases, config.sheet_samples), rows, setting)
    sheet = config.folder / "contact_sheet.png"
    contact_sheet(shown, setting).save(sheet)
    videos = write_turntables(config.folder, shown, setting) if config.video else []
    for path in (config.folder / "results.json", config.folder / "results.md", sheet, *videos):
        print(path)


def open_data(config: EvalConfig) -> tuple[dict[str, Shard], dict[str, Shard] | None]:
    """The split's shards, and those of --targets, both with pictures large enough."""
    shards = split_shards(
        open_shards(config.data), config.split, config.split_file, config.categories
    )
    check_pictures(shards.values(), config.resolution)
    if config.targets is None:
        return shards, None
    truths = {n: shard for n, shard in open_shards(config.targets).items() if n in shards}
    check_pictures(truths.values(), config.resolution)
    return shards, truths


def main() -> int:
    return program(EvalConfig, run, "python eval.py")


if __name__ == "__main__":
    sys.exit(main())
