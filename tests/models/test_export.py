"""Exported networks compute what torch computes, and hold nothing but what they need."""

import os
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import SMALL, noise_pyramid, small_network, worst

onnx = pytest.importorskip("onnx")

from hyperstem.config import ConfigError, ModelConfig  # noqa: E402
from hyperstem.errors import ModelError  # noqa: E402
from hyperstem.models import onnx_engine, store  # noqa: E402  (after the check for onnx)
from hyperstem.models.export import build, export  # noqa: E402

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo.ogg"
WEIGHTS = ROOT / "src" / "hyperstem" / "models" / "default" / "model.safetensors"
TOLERANCE = 1e-4

SHAPES = {
    "two stages": {},
    "three stages": {"stages": 3, "blocks": 1},
    "four stages, two stems": {"stages": 4, "stems": ("voice", "rest"), "blocks": 1, "latent_dim": 64},
    "stereo, six stems": {"audio_channels": 2, "stems": tuple("abcdef")},
    "shared, three stages": {"parameters": "shared", "stages": 3},
    "shared stereo": {"parameters": "shared", "audio_channels": 2},
    "independent, residual bias": {"parameters": "independent", "residual_bias": True},
    "generated residual bias": {"residual_bias": True},
    "kernels and hop apart": {"kernels": (7, 31, 12), "hop": 13, "latent_dim": 64},
    "kernel under the hop": {"kernels": (4, 21), "hop": 16},
    "hop of 20 ms": {"hop": 160, "kernels": (320, 100), "n_fft": 1024, "stft_hop": 256},
    "no spectrogram": {"spectrogram": False},
    "uneven STFT": {"n_fft": 90, "stft_hop": 35},
    "prime STFT hop": {"n_fft": 2 * 61, "stft_hop": 7},
    "octaves": {"stages": 3, "blocks": 1, "octaves": True},
    "octaves, stereo": {"audio_channels": 2, "octaves": True},
    "shrinking latents": {"latent_dim": (128, 64), "bottleneck_dim": (64, 128), "blocks": (2, 1)},
}


@cache
def session_of(kind="two stages"):
    network = small_network(**SHAPES[kind])
    return network, load_model(build(network))


def load_model(model):
    """A runtime for a model in memory."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return onnx_engine.load(path, threads=1)


def arrays(pyramid):
    return [wave.numpy() for wave in pyramid]


@torch.no_grad()
def compare(network, session, pyramid, tolerance=TOLERANCE, silent=1e-6):
    ours = session(arrays(pyramid))
    theirs = network(pyramid)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for name in one._fields:
            given = getattr(one, name)
            assert given.dtype == np.float32
            assert worst(given, getattr(other, name), floor=silent) < tolerance, name


@pytest.mark.parametrize("kind", SHAPES)
def test_every_shape_equals_torch(kind):
    network, session = session_of(kind)
    for length, batch in ((2400, 2), (1111, 1)):
        compare(network, session, noise_pyramid(network.config, length, batch))


@settings(max_examples=15)
@given(st.integers(1, 3000), st.integers(1, 3), st.integers(1, 2))
def test_any_length_and_batch(length, batch, stages):
    network, session = session_of()
    outputs = session(arrays(noise_pyramid(network.config, length, batch, stages=stages)))
    assert [output.stems.shape for output in outputs] == [(batch, 4, length << i) for i in range(stages)]
    if length > 200:  # shorter than that the few frames leave the norms ill-conditioned
        compare(network, session, noise_pyramid(network.config, length, batch, stages=stages))


@pytest.mark.parametrize("changes", [(0, 0, 0), (0, 1, 3), (0, -1, -2), (0, 2, 4), (0, -2, -4)])
def test_octaves_where_rates_do_not_fit_exactly(changes):
    network, session = session_of("octaves")
    pyramid = [torch.randn(1, (2400 << i) + change) for i, change in enumerate(changes)]
    compare(network, session, pyramid)


def signals():
    rate_hz, seconds = 8000, 1.0
    generator = torch.Generator().manual_seed(0)

    def at_rates(make):
        return [make(torch.arange(int(seconds * rate_hz) << i) / (rate_hz << i)).unsqueeze(0) for i in range(2)]

    def noise(time_s):
        return torch.randn(time_s.shape, generator=generator)

    def music(time_s):
        beat = torch.exp(-20 * (time_s % 0.25)) * noise(time_s)
        chord = sum(
            torch.sin(2 * torch.pi * hz * time_s) / n for n, hz in enumerate((110.0, 220, 277.2, 329.6, 660), 1)
        )
        return beat + chord * (1 + 0.3 * torch.sin(2 * torch.pi * 5 * time_s)) + 0.01 * noise(time_s)

    def tone(time_s):
        return torch.sin(2 * torch.pi * 440 * time_s)

    return {
        "noise": at_rates(noise),
        "music": at_rates(music),
        "tone": at_rates(tone),
        "half silence": at_rates(lambda time_s: noise(time_s) * (time_s < 0.5)),
        "silence": at_rates(torch.zeros_like),
        "-80 dBFS": [wave * 1e-4 for wave in at_rates(noise)],
        "one click": at_rates(lambda time_s: (time_s == 0.25).float()),
        "a constant": at_rates(torch.ones_like),
    }


@pytest.mark.parametrize("name", signals())
@pytest.mark.parametrize("kind", ["two stages", "shared, three stages", "stereo, six stems", "octaves, stereo"])
def test_signals_of_every_kind(name, kind):
    network, session = session_of(kind)
    pyramid = signals()[name]
    if network.config.audio_channels == 2:
        pyramid = [torch.stack([wave, wave.flip(-1) * 0.5], 1) for wave in pyramid]
    compare(network, session, pyramid)


def test_real_music():
    import soundfile

    network, session = session_of()
    if not DEMO.is_file():
        pytest.skip("the demo song is not here")
    wave, rate_hz = soundfile.read(DEMO, frames=44100, start=44100, dtype="float32", always_2d=True)
    from hyperstem.dsp.resample import normalise, pyramid

    normal = normalise(pyramid(wave.T, rate_hz, network.config.rates_hz))
    compare(network, session, [torch.from_numpy(np.ascontiguousarray(part[:1], np.float32)) for part in normal.waves])


def test_the_shipped_model_if_it_is_here():
    files = store.find("default") if "default" in store.names() else None
    if files is None or files.onnx is None or files.safetensors is None:
        pytest.skip("no model comes with this checkout")
    network, session = store.load(files.safetensors), onnx_engine.load(files.onnx, threads=2)
    assert session.config == network.config
    lengths = [network.config.rates_hz[i] // 2 for i in range(network.config.stages)]
    waves = [torch.randn(1, 2, length, generator=torch.Generator().manual_seed(0)) for length in lengths]
    with torch.no_grad():
        stems = network(waves)[-1].stems
    # Its file stores the folded weights in half precision, the other one what they are generated from.
    assert worst(session.separate(arrays(waves)), stems) < 1e-2


@pytest.mark.slow
def test_the_papers_size(tmp_path):
    network = small_network(config=ModelConfig())
    export(network, tmp_path / "paper.onnx")
    folded = sum(tensor.numel() for tensor in network.folded().state_dict().values())
    assert (tmp_path / "paper.onnx").stat().st_size < 1.1 * 4 * folded
    compare(network, onnx_engine.load(tmp_path / "paper.onnx", threads=2), noise_pyramid(network.config, 4000, batch=1))


def nodes_of(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes_of(attribute.g)


def constants_of(graph):
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from constants_of(attribute.g)


def test_nothing_of_the_generator_is_in_the_graph():
    network = small_network(embedding_dim=7, embedding_bottleneck=5)
    model = build(network)
    names = " ".join([node.name + " ".join([*node.input, *node.output]) for node in nodes_of(model.graph)]).lower()
    assert not any(word in names for word in ("embedding", "bottleneck", "generat"))
    constants = [onnx.numpy_helper.to_array(tensor) for tensor in constants_of(model.graph)]
    shapes = {array.shape for array in constants}
    assert (4, 7) not in shapes
    assert not any(len(shape) > 1 and shape[-1] == 7 for shape in shapes)
    folded = max(tensor.numel() for name, tensor in network.folded().state_dict().items())
    largest = max((array for array in constants if array.dtype == np.float32), key=np.size)
    assert largest.size <= 2 * folded  # the decoder's kernels are padded to whole hops
    embeddings = {value for stage in network.stages for value in stage.embedding.detach().flatten().tolist()}
    assert not any(embeddings & set(array.flatten().tolist()) for array in constants if array.dtype == np.float32)


def test_only_standard_operators():
    model = build(small_network())
    assert {opset.domain for opset in model.opset_import} == {""}
    assert {node.domain for node in nodes_of(model.graph)} == {""}
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(("precision", "bytes_per_number"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_size_of_the_file(precision, bytes_per_number, tmp_path):
    network = small_network(stages=2, n_fft=1024, stft_hop=256, latent_dim=128)
    export(network, tmp_path / "model.onnx", precision=precision)
    numbers = sum(tensor.numel() for tensor in network.folded().state_dict().values())
    size = (tmp_path / "model.onnx").stat().st_size
    assert size < 1.15 * bytes_per_number * numbers + 350_000, (size, numbers)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_lower_precision_changes_little(precision):
    network, single = session_of()
    lower = load_model(build(network, precision=precision))
    pyramid = arrays(noise_pyramid(network.config, 2000))
    for one, other in zip(lower(pyramid), single(pyramid), strict=True):
        assert 0 < worst(one.stems, other.stems) < 0.02


def test_an_int8_export_rounds_large_constants_in_blocks():
    network = small_network(n_fft=1024, stft_hop=256, latent_dim=128)
    single = load_model(build(network))
    rounded = load_model(build(network, precision="int8"))
    pyramid = arrays(noise_pyramid(network.config, 2000))
    error = rounded(pyramid)[-1].stems - single(pyramid)[-1].stems
    level = np.sqrt(np.square(error).mean() / np.square(single(pyramid)[-1].stems).mean())
    assert 1e-4 < level < 0.05


@torch.no_grad()
def test_weights_that_were_rounded_survive_half_precision_exactly():
    network = small_network()
    folded = network.folded()
    for tensor in folded.state_dict().values():
        tensor.copy_(tensor.half().float())
    session = load_model(build(folded, precision="float16"))
    # Standardising and norms are folded into their neighbours before rounding, so it is near, not equal.
    assert (
        worst(
            session(arrays(noise_pyramid(network.config, 2000)))[0].stems,
            folded(noise_pyramid(network.config, 2000))[0].stems,
        )
        < 0.02
    )


def test_first_stages_and_some_stems(tmp_path):
    network = small_network(stages=3, blocks=1)
    export(network, tmp_path / "cut.onnx", stages=2, stems=["vocals", "bass"])
    session = onnx_engine.load(tmp_path / "cut.onnx")
    assert session.stems == ("vocals", "bass")
    assert session.stages == 2
    assert session.config == network.config.first_stages(2)
    pyramid = noise_pyramid(network.config, 1500, stages=2)
    with torch.no_grad():
        expected = network(pyramid)
    for one, other in zip(session(arrays(pyramid)), expected, strict=True):
        assert worst(one.stems, other.stems[:, [3, 1]]) < TOLERANCE
        assert worst(one.latent, other.latent) < TOLERANCE
        assert worst(one.mixture, other.mixture) < TOLERANCE
    with pytest.raises(ConfigError, match="3 rates"):
        session(arrays(noise_pyramid(network.config, 1500)))


def test_the_network_is_left_as_it_was():
    network = small_network().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    build(network)
    assert network.training
    assert all(tensor.requires_grad for tensor in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"stems": ["piano"]}, "no stem 'piano'; this model separates drums, bass"),
        ({"stages": 0}, "0"),
        ({"stages": 3}, "3"),
        ({"stems": ["bass", "bass"]}, "'bass'.*twice"),
    ],
)
def test_wrong_choices_are_told_and_nothing_is_written(arguments, word, tmp_path):
    with pytest.raises((ModelError, ConfigError), match=word):
        export(small_network(), tmp_path / "model.onnx", **arguments)
    assert list(tmp_path.iterdir()) == []


@torch.no_grad()
def test_separate_runs_what_an_octave_adds_to():
    network, session = session_of("octaves, stereo")
    pyramid = noise_pyramid(network.config, 2400, 2)
    assert worst(session.separate(arrays(pyramid)), network(pyramid)[-1].stems) < TOLERANCE
    assert worst(session.separate(arrays(pyramid[:1])), network(pyramid[:1])[0].stems) < TOLERANCE


def test_separate_gives_the_last_stages_stems():
    network, session = session_of("three stages")
    for stages in (1, 2, 3):
        pyramid = noise_pyramid(network.config, 1600, stages=stages)
        given = session.separate([wave.unsqueeze(1).numpy() for wave in pyramid])
        assert given.shape == (2, 4, 1, 1600 << (stages - 1))
        assert worst(given[:, :, 0], network(pyramid)[-1].stems) < TOLERANCE


def test_threads_do_not_disturb_each_other():
    network, session = session_of()
    inputs = [arrays(noise_pyramid(network.config, 900 + 100 * i, seed=i)) for i in range(4)]
    alone = [session(pyramid) for pyramid in inputs]
    wrong = []

    def work(i):
        for _ in range(5):
            for one, other in zip(session(inputs[i]), alone[i], strict=True):
                if not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)):
                    wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_loading_is_quick(tmp_path):
    export(small_network(), tmp_path / "model.onnx")
    times = []
    for _ in range(3):
        begun = time.process_time()
        onnx_engine.load(tmp_path / "model.onnx", threads=1)
        times.append(time.process_time() - begun)
    assert min(times) < 1.0


WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors", "onnx", "onnxscript"):
            raise ModuleNotFoundError(f"no {name} here", name=name)
sys.meta_path.insert(0, NoTorch())
import numpy as np
from hyperstem.models import onnx_engine
session = onnx_engine.load(sys.argv[1], threads=1)
outputs = session([np.ones((1, 500 << i), np.float32) for i in range(2)])
assert [output.stems.shape for output in outputs] == [(1, 4, 500), (1, 4, 1000)]
print(",".join(session.stems), "torch" in sys.modules)
"""


COMMAND_WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(("torch", "safetensors", "onnx")))
from hyperstem.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "command",
    [
        ("train", ROOT / "configs" / "default.toml"),
        ("export", WEIGHTS, "out.onnx"),
        ("convert", WEIGHTS, "out.safetensors"),
        ("models", "show", WEIGHTS),
    ],
)
def test_commands_that_need_torch_say_how_to_get_it(tmp_path, command):
    done = subprocess.run(
        [sys.executable, "-c", COMMAND_WITHOUT_TORCH, *map(str, command)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "which is not installed: pip install 'hyperstem[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_runtime_needs_no_torch(tmp_path):
    export(small_network(), tmp_path / "model.onnx")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, tmp_path / "model.onnx"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.stdout.split() == ["drums,bass,other,vocals", "False"], done.stderr


def test_an_interrupted_export_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        export(small_network(), path)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_each_weight_is_generated_once(monkeypatch):
    from hyperstem.network.generator import Generated

    seen, original = {}, Generated.forward

    def counting(self, embedding):
        seen[id(self)] = seen.get(id(self), 0) + 1
        return original(self, embedding)

    monkeypatch.setattr(Generated, "forward", counting)
    network = small_network(config=SMALL)
    sources = sum(isinstance(module, Generated) for module in network.modules())
    build(network)
    assert len(seen) == sources
    assert set(seen.values()) == {1}
    seen.clear()
    with torch.no_grad():
        network(noise_pyramid(SMALL, 400))
    assert set(seen.values()) == {1}
