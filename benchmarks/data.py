"""Processor time of making a training batch: python benchmarks/data.py CONFIG [--batch 4] [--segment 6]."""

import argparse
import dataclasses
import time
from pathlib import Path

from hyperstem.config import AugmentConfig, DataConfig, MixingConfig, ModelConfig, from_mapping, load_toml
from hyperstem.data.sampling import ExampleSource, assemble


def milliseconds(data: DataConfig, model: ModelConfig, batch: int, count: int) -> float:
    source = ExampleSource(data, model)
    started = 0.0
    for index in range(-2, count):
        if index == 0:
            started = time.process_time()
        assemble([source.example(index + 2, item) for item in range(batch)], model, data.mixing.active_db)
    return (time.process_time() - started) / count * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--segment", type=float, default=6.0)
    args = parser.parse_args()
    data = from_mapping(DataConfig, load_toml(args.config)["data"], f"{args.config} [data]")
    data = dataclasses.replace(data.resolved(args.config.parent), segment_s=args.segment)
    plain = dataclasses.replace(data, mixing=MixingConfig(), augment=AugmentConfig())
    print(f"| stages | channels | {args.config.name}, ms | the paper's mixing, ms |\n|---|---|---|---|")
    for stages in (1, 3):
        for channels in (1, 2):
            model = ModelConfig(audio_channels=channels, stages=stages)
            times = [milliseconds(each, model, args.batch, 60 if stages == 1 else 15) for each in (data, plain)]
            print(f"| {stages} | {channels} | {times[0]:.0f} | {times[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
