import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.distributed_c10d import BackendConfig

from hyperstem.config import ModelConfig
from hyperstem.errors import ConfigError
from hyperstem.network import MetaTasNet
from hyperstem.training import distributed
from hyperstem.training.distributed import World, find_device, find_world, process_group

MODEL = {
    "base_rate_hz": 4000,
    "stages": 1,
    "latent_dim": 32,
    "kernels": (40, 80),
    "hop": 20,
    "mels": 8,
    "n_fft": 128,
    "stft_hop": 32,
    "bottleneck_dim": 16,
    "hidden_dim": 16,
    "blocks": 2,
    "stacks": 1,
    "norm_groups": 4,
}

TRAIN = """
import json, sys
from pathlib import Path
import torch
from hyperstem.config import STEMS
from hyperstem.data.dataset import Batch
from hyperstem.training.distributed import process_group, find_world
from hyperstem.training.losses import Objective
from hyperstem.network import MetaTasNet
from hyperstem.training.trainer import Trainer
from hyperstem.training.settings import from_tables

torch.set_num_threads(1)

class Noise:
    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        stems = torch.randn(4, 4, 1000, generator=generator)
        active = (torch.rand(4, 4, generator=generator) > 0.5).float()
        stems = stems * active.unsqueeze(-1)
        mixture = stems.sum(1)
        if index == 4:
            stems[3] = float("nan")  # in the second process's share alone
        each = 4 // world.size
        own = slice(world.rank * each, (world.rank + 1) * each)
        return Batch((mixture[own],), (stems[own],), active[own], None)

tables = {
    "model": json.loads(sys.argv[2]),
    "loss": dict(similarity=0.0, silence=0.1),
    "train": dict(batch=4, accumulate=2, average=0.9, lookahead_steps=2, log_steps=2, learning_rate=1e-3),
    "data": dict(sources=[dict(name="a", layout="folders", path=".")], workers=0),
}
with process_group(torch.device("cpu")) as world:
    settings = from_tables(tables, Path("c.toml"))
    torch.manual_seed(world.rank)  # several processes begin from the first one's weights
    network = MetaTasNet(settings.model)
    trainer = Trainer(settings, Path(sys.argv[1]), network, Objective(settings.loss), Noise(), world=world)
    outcome = trainer.run(50, stop=lambda: world.rank == world.size - 1 and trainer.tally.step >= 5)
    total = sum(weight.double().sum().item() for weight in network.parameters())
    print(outcome.step, outcome.reason, trainer.tally.skipped, total)
"""


def train_with(processes: int, folder: Path) -> list[list[str]]:
    """Trains in so many processes; gives what each of them printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", TRAIN, str(folder), json.dumps(MODEL)]
    running = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]
    results = [process.communicate(timeout=120) for process in running]
    assert all(process.returncode == 0 for process in running), results
    return [out.split() for out, _ in results]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    single, double = train_with(1, tmp_path / "one"), train_with(2, tmp_path / "two")
    # Both stop after the step in which the second was told to, and both skip the step that only the second sees broken.
    assert [line[:3] for line in double] == [["5", "stopped", "1"]] * 2
    assert single[0][:3] == ["5", "stopped", "1"]
    assert double[0][3] == double[1][3]
    one, two = (torch.load(tmp_path / name / "checkpoint", weights_only=True)["state"] for name in ("one", "two"))
    torch.manual_seed(0)
    start = MetaTasNet(ModelConfig(**MODEL)).state_dict()
    for prefix, part in (("", "network"), ("module.", "average")):
        moved = sum((one[part][prefix + name] - value).square().sum() for name, value in start.items()).sqrt()
        apart = sum((one[part][prefix + name] - two[part][prefix + name]).square().sum() for name in start).sqrt()
        assert moved > 2e-3
        assert apart < 1e-3 * moved  # the order of sums alone differs


def test_one_process_needs_nothing():
    with process_group(torch.device("cpu")) as world:
        assert world == find_world() == World(0, 1, 0)
        assert world.is_main
        values = torch.tensor([1.0, 2.0])
        assert distributed.total(values) is distributed.maximum(values) is values
        assert distributed.process_count() == 1


def test_the_environment_of_torchrun(monkeypatch):
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert find_world() == World(3, 4, 1)
    assert not find_world().is_main


@pytest.mark.parametrize("name", ["tpu9", "cuda:99", ""])
def test_devices_that_are_not_there(name):
    with pytest.raises(ConfigError, match="device is"):
        find_device(name)


@pytest.mark.parametrize("name", ["meta", "mps", "xla:0"])
def test_devices_that_training_does_not_know(name):
    with pytest.raises(ConfigError, match="give auto, cpu, cuda or cuda:N"):
        find_device(name)


def test_devices(monkeypatch):
    assert find_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_device() == find_device("cuda") == torch.device("cuda", 1)
    assert find_device("cuda:0") == torch.device("cuda", 0)


def test_sums_on_the_processor_have_a_way_beside_graphics_cards():
    ways = BackendConfig(distributed.backends(torch.device("cuda", 0))).get_device_backend_map()
    assert ways == {"cpu": "gloo", "cuda": "nccl"}
