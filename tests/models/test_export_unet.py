from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from hyperstem import Separator
from hyperstem.errors import ConfigError, ModelError
from hyperstem.models import onnx_engine, store
from hyperstem.models.export import export
from hyperstem.models.onnx_unet import UNetRuntime
from unets import lively_unet


def exported(folder: Path, stems: list[str] | None = None, precision: str = "float32", **changes: object):
    network = lively_unet(**changes)
    export(network, folder / "net.onnx", stems=stems, precision=precision)
    runtime = onnx_engine.load(folder / "net.onnx", threads=1)
    assert isinstance(runtime, UNetRuntime)
    return network, runtime


@pytest.mark.parametrize("length", [1, 40, 2000, 2031])
@pytest.mark.parametrize("parameters", ["generated", "shared"])
def test_the_exported_network_gives_what_torch_gives(tmp_path: Path, length: int, parameters: str) -> None:
    network, runtime = exported(tmp_path, parameters=parameters)
    wave = np.random.default_rng(0).normal(0, 1, (3, 2, length)).astype(np.float32)
    with torch.no_grad():
        expected = network([torch.from_numpy(wave)])[0].stems.numpy()
    stems = runtime.separate([wave])
    assert stems.shape == (3, 4, 2, length)
    assert stems.dtype == np.float32
    np.testing.assert_allclose(stems, expected, atol=3e-4)


def test_a_bottleneck_with_lstms_along_both_axes(tmp_path: Path) -> None:
    network, runtime = exported(tmp_path, recurrent_rows=True)
    waves = np.random.default_rng(0).normal(0, 1, (2, 2, 2000)).astype(np.float32)
    with torch.no_grad():
        expected = network([torch.from_numpy(waves)])[0].stems.numpy()
    np.testing.assert_allclose(runtime.separate([waves]), expected, atol=3e-4)
    along_rows = network.encoder.core[1]
    x = torch.randn(1, 12, 8, 5)
    with torch.no_grad():
        turned = torch.cat([along_rows(x[..., i : i + 1]) for i in range(5)], 3)  # no column hears another
        torch.testing.assert_close(along_rows(x), turned)


def test_half_precision_halves_the_file_and_changes_little(tmp_path: Path) -> None:
    _, whole = exported(tmp_path)
    size = (tmp_path / "net.onnx").stat().st_size
    _, half = exported(tmp_path, precision="float16")
    assert (tmp_path / "net.onnx").stat().st_size < 0.75 * size
    wave = np.random.default_rng(0).normal(0, 1, (1, 2, 3000)).astype(np.float32)
    np.testing.assert_allclose(half.separate([wave]), whole.separate([wave]), atol=0.05)


def test_chosen_stems_come_in_the_order_asked_for(tmp_path: Path) -> None:
    network, runtime = exported(tmp_path, stems=["vocals", "bass"])
    wave = np.random.default_rng(0).normal(0, 1, (1, 2, 1500)).astype(np.float32)
    with torch.no_grad():
        everything = network([torch.from_numpy(wave)])[0].stems.numpy()
    np.testing.assert_allclose(runtime.separate([wave]), everything[:, [3, 1]], atol=3e-4)
    with pytest.raises(ModelError, match="no stem 'flute'"):
        export(network, tmp_path / "x.onnx", stems=["flute"])


def test_nothing_of_the_generator_is_left(tmp_path: Path) -> None:
    network, _ = exported(tmp_path, extractor_channels=(16, 16))  # sizes that are not filled up
    folded = network.folded()
    numbers = sum(values.numel() for values in folded.state_dict().values())
    constants = onnx.load(tmp_path / "net.onnx").graph.initializer
    assert sum(int(np.prod(constant.dims)) for constant in constants) < numbers + 2000


@pytest.mark.parametrize(
    "wave", [np.zeros((1, 1, 10)), np.zeros((2, 10)), np.zeros((1, 2, 10), int), np.full((1, 2, 9), np.inf)]
)
def test_waves_that_do_not_fit_are_refused(tmp_path: Path, wave: np.ndarray) -> None:
    _, runtime = exported(tmp_path)
    with pytest.raises(ConfigError):
        runtime.separate([wave])


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    network = lively_unet()
    store.save(tmp_path / "net.safetensors", network)
    again = store.load(tmp_path / "net.safetensors")
    assert again.config == network.config
    for name, values in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], values, check_dtype=False)


@pytest.mark.parametrize("suffix", ["onnx", "safetensors"])
def test_songs_are_separated_at_any_level_and_rate(tmp_path: Path, suffix: str) -> None:
    network, _ = exported(tmp_path)
    store.save(tmp_path / "net.safetensors", network)
    separator = Separator.load(tmp_path / f"net.{suffix}", threads=1)
    rng = np.random.default_rng(0)
    song = rng.normal(0, 0.1, (2, 30_000)).astype(np.float32)
    stems = separator.separate(song, 11_025)
    total = sum(stems[name] for name in stems)
    np.testing.assert_allclose(total, song, atol=1e-6)
    faint = separator.separate(song * np.float32(1e-3), 11_025)
    for name in stems:
        np.testing.assert_allclose(faint[name] * 1e3, stems[name], atol=1e-4)
