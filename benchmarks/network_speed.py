"""Speed of the network alone: ``python benchmarks/network_speed.py [--config configs/paper.toml] [--no-write]``.

Times one forward pass on torch (folded, float32) and on onnxruntime, and beside them, in the same rounds, the same
arithmetic as bare matrix products: every convolution and linear map as one product of its sizes, back to back, with
none of the norms, nonlinearities, transforms and copies between them. That is the machine's limit; the ratio says how
far from it the network runs. The products are torch's; below one, onnxruntime's own are faster on that processor than
the yardstick. Weights do not matter to the speed, so they are random.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from _results import machine, write_section

from hyperstem.config import ModelConfig, StageConfig, from_mapping, load_toml
from hyperstem.models import onnx_engine
from hyperstem.models.export import export
from hyperstem.network import MetaTasNet


class Product(NamedTuple):
    """A matrix product (rows, inner) @ (inner, columns), done `count` times."""

    rows: int
    inner: int
    columns: int
    count: int = 1

    @property
    def multiplications(self) -> int:
        return self.rows * self.inner * self.columns * self.count


def stage_products(config: ModelConfig, stage: StageConfig, frames: int, decoded: int) -> list[Product]:
    """The products of one stage for one item, `decoded` waveforms being decoded."""
    stems, channels = len(config.stems), config.audio_channels
    latent, bottleneck, hidden, blocks = (
        stage.latent_dim,
        stage.bottleneck_dim,
        stage.hidden_dim,
        stage.blocks * stage.stacks,
    )
    spectra = frames * stage.hop // stage.stft_hop + 1
    products = [Product(stage.encoder_channels, channels * kernel, frames) for kernel in stage.kernels]
    products += [
        Product(stage.mels, channels * stage.bins, spectra),
        Product(latent, len(stage.kernels) * stage.encoder_channels + stage.mels, frames),
        Product(latent, latent, frames),
        Product(stems * bottleneck, latent, frames),  # the entry: one signal for all stems
        Product(bottleneck, stage.previous_dim, frames, stems if stage.previous_dim else 0),
        Product(hidden, bottleneck, frames, stems * blocks),
        Product(hidden, config.kernel_size, frames, stems * blocks),  # depthwise
        Product(2 * bottleneck, hidden, frames, stems * blocks),  # residual and skip
        Product(latent, bottleneck, frames, stems),
        Product(sum(stage.decoder_channels), latent, frames, decoded),
    ]
    products += [
        Product(channels * kernel, width, frames, decoded)
        for kernel, width in zip(stage.kernels, stage.decoder_channels, strict=True)
    ]
    return [product for product in products if product.count]


def bare(products: Sequence[Product]) -> Callable[[], None]:
    """What runs the products, one after the other, on memory taken beforehand."""
    work = []
    for product in products:
        left, right = torch.randn(product.rows, product.inner), torch.randn(product.inner, product.columns)
        work.append((left, right, torch.empty(product.rows, product.columns), product.count))

    def run() -> None:
        for left, right, out, count in work:
            for _ in range(count):
                torch.mm(left, right, out=out)

    return run


def paired(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Wall times in seconds, every task once a round, so that a busy machine is busy for all of them."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(rounds + 1):
        for name, task in tasks.items():
            begun = time.perf_counter()
            task()
            if turn:  # the first round warms up
                times[name].append(time.perf_counter() - begun)
    return times


@torch.inference_mode()
def measure(config: ModelConfig, seconds: float, threads: Sequence[int], rounds: int) -> str:
    """The section's text."""
    torch.manual_seed(0)
    network = MetaTasNet(config).eval()
    parameters = sum(tensor.numel() for tensor in network.parameters())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export(network, path)
        megabytes = path.stat().st_size / 1e6
        begun = time.perf_counter()
        onnx_engine.load(path, threads=1)
        load_s = time.perf_counter() - begun
        rows = [row for count in threads for row in rows_for(network, path, seconds, count, rounds)]
    lines = [
        f"`python benchmarks/network_speed.py`: {parameters / 1e6:.1f} M parameters, {seconds:g} s of audio, batch 1,",
        f"median of {rounds} paired rounds; {machine()}, torch {torch.__version__}. The ONNX file takes",
        f"{megabytes:.0f} MB and loads in {load_s:.2f} s.",
        "The bare products are torch's: below one, onnxruntime's own products are faster on this processor.",
        "",
        "| | threads | seconds per second of audio | times the limit | of the fastest rounds | GFLOP/s at best |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines)


def rows_for(network: MetaTasNet, path: Path, seconds: float, threads: int, rounds: int) -> list[str]:
    """The table's rows for one number of threads."""
    torch.set_num_threads(threads)
    config, folded, session = network.config, network.folded(), onnx_engine.load(path, threads=threads)
    lengths = [round(seconds * config.base_rate_hz) << i for i in range(config.stages)]
    channel = () if config.audio_channels == 1 else (config.audio_channels,)
    pyramid = [torch.randn(1, *channel, length) for length in lengths]
    arrays = [wave.numpy() for wave in pyramid]
    with_channels = [array.reshape(1, config.audio_channels, -1) for array in arrays]

    frames, stems, sizes = config.frames(tuple(lengths)), len(config.stems), config.stage_configs
    whole = [product for stage in sizes for product in stage_products(config, stage, frames, stems + 1)]
    last = [
        product
        for stage in sizes
        for product in stage_products(config, stage, frames, stems if stage is sizes[-1] else 0)
    ]
    tasks = {
        "limit": bare(whole),
        "torch": lambda: folded(pyramid),
        "onnx": lambda: session(arrays),
        "limit of the last": bare(last),
        "onnx, last": lambda: session.separate(with_channels),
    }
    times = paired(tasks, rounds)

    def row(what: str, name: str, limit: str, products: list[Product]) -> str:
        ratio = statistics.median(a / b for a, b in zip(times[name], times[limit], strict=True))
        spent = statistics.median(times[name])
        best = min(times[name]) / min(times[limit])
        rate = 2e-9 * sum(product.multiplications for product in products) / min(times[name])
        return f"| {what} | {threads} | {spent / seconds:.3f} | {ratio:.2f} | {best:.2f} | {rate:.0f} |"

    return [
        row("everything, as bare matrix products", "limit", "limit", whole),
        row("everything, torch, folded", "torch", "limit", whole),
        row("everything, onnxruntime", "onnx", "limit", whole),
        row("the last stage's stems, as bare matrix products", "limit of the last", "limit of the last", last),
        row("the last stage's stems, onnxruntime", "onnx, last", "limit of the last", last),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "paper.toml")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-write", action="store_true", help="print only; leave RESULTS.md as it is")
    args = parser.parse_args()
    config = from_mapping(ModelConfig, load_toml(args.config)["model"], f"{args.config} [model]")
    body = measure(config, args.seconds, args.threads, args.rounds)
    print(body)
    if not args.no_write:
        write_section(f"Network, {args.config.stem}", body)


if __name__ == "__main__":
    main()
