"""Time of a training step of the small model's stage 0, beside the same arithmetic as bare matrix products.

python benchmarks/training_speed.py [--rounds N]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _results import write_section
from torch.utils.flop_counter import FlopCounterMode

from hyperstem.config import LossConfig, ModelConfig, from_mapping, load_toml
from hyperstem.network import MetaTasNet
from hyperstem.training.losses import Objective

CONFIG = Path(__file__).parents[1] / "configs" / "default-stage0.toml"
BATCH = 4
PRODUCT = (16, 192, 128, 600)
"""Items, rows, inner size and columns of the bare product: the block's largest, four stems of four items at once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(0)
    tables = load_toml(CONFIG)
    config = from_mapping(ModelConfig, tables["model"], f"{CONFIG.name} [model]")
    objective = Objective(from_mapping(LossConfig, tables["loss"], f"{CONFIG.name} [loss]"))
    network = MetaTasNet(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    length = round(config.segment_s * config.base_rate_hz)
    stems = torch.randn(BATCH, len(config.stems), config.audio_channels, length)
    mixture, active = stems.sum(1), torch.ones(BATCH, len(config.stems))

    rows = []
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):

        def step(dtype: torch.dtype = dtype) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                loss = objective(network, [mixture], [stems], active).total
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        items, out, inner, frames = PRODUCT
        kernel, x = torch.randn(items, out, inner, dtype=dtype), torch.randn(items, inner, frames, dtype=dtype)
        product_flops = 2 * items * out * inner * frames
        with FlopCounterMode(display=False) as counter:
            step()
        flops = counter.get_total_flops()
        products = max(1, round(flops / product_flops))

        def bare(count: int = products, kernel: torch.Tensor = kernel, x: torch.Tensor = x) -> None:
            for _ in range(count):
                torch.bmm(kernel, x)

        pairs = [(timed(step), timed(bare)) for _ in range(args.rounds + 1)][1:]
        taken, limit = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        rows.append(
            f"| {name} | {flops / 1e9:.1f} | {taken:.3f} | {BATCH * config.segment_s / taken:.0f} "
            f"| {limit:.3f} | {ratio:.1f} | {100 / ratio:.0f} % |"
        )
    threads = torch.get_num_threads()
    write_section(
        "Training step",
        "\n".join(
            [
                f"`python benchmarks/training_speed.py`: `configs/{CONFIG.name}`, batch {BATCH} x {config.segment_s:g}",
                f"s, forward, backward and optimiser, {threads} threads, torch {torch.__version__};",
                f"median of {args.rounds} paired rounds. The limit is the same number of operations",
                "as bare products of the size of a block's largest.",
                "",
                "| precision | GFLOP | seconds | audio s per s | limit, seconds | times the limit "
                "| share of the limit |",
                "|---|---:|---:|---:|---:|---:|---:|",
                *rows,
            ]
        ),
    )


def timed(work: Callable[[], None]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
