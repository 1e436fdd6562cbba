"""Plain exports: one path that other programs load without a warning, and that computes what torch computes."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from networks import noise_pyramid, small_network, worst

onnx = pytest.importorskip("onnx")

from hyperstem.cli import main  # noqa: E402  (after the check for onnx)
from hyperstem.errors import ModelError  # noqa: E402
from hyperstem.models import onnx_engine, store  # noqa: E402
from hyperstem.models.export import build, export  # noqa: E402

SHAPES = {
    "three stages": {"stages": 3, "blocks": 1},
    "octaves, stereo": {"stages": 3, "blocks": 1, "audio_channels": 2, "octaves": True},
    "uneven STFT": {"n_fft": 90, "stft_hop": 35},
    "prime STFT hop": {"n_fft": 2 * 61, "stft_hop": 7},
    "shared stereo": {"parameters": "shared", "audio_channels": 2},
}
LENGTHS = ((2400, 2), (1111, 1))
"""Samples at the lowest rate, and batches."""
ORT_WEB = os.environ.get("HYPERSTEM_ONNXRUNTIME_WEB", "")
"""Folder whose node_modules hold onnxruntime-web."""


@cache
def network_of(kind: str):
    return small_network(**SHAPES[kind])


def waves(kind: str, length: int, batch: int) -> list[np.ndarray]:
    """(batch, channel, time) per stage."""
    found = [wave.numpy() for wave in noise_pyramid(network_of(kind).config, length, batch)]
    return [wave[:, None] if wave.ndim == 2 else wave for wave in found]


@torch.no_grad()
def expected(kind: str, given: list[np.ndarray]) -> np.ndarray:
    network = network_of(kind)
    mono = network.config.audio_channels == 1
    stems = network([torch.from_numpy(wave.squeeze(1) if mono else wave) for wave in given])[-1].stems.numpy()
    return stems[:, :, None] if mono else stems


@pytest.fixture
def exported(tmp_path):
    def write(kind: str) -> Path:
        path = tmp_path / "plain.onnx"
        export(network_of(kind), path, plain=True)
        return path

    return write


@pytest.mark.parametrize("kind", SHAPES)
def test_one_path_gives_what_torch_gives(kind, exported):
    session = onnxruntime.InferenceSession(str(exported(kind)), providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == [f"wave{i}" for i in range(network_of(kind).config.stages)]
    for size in LENGTHS:
        given = waves(kind, *size)
        (stems,) = session.run(["stems"], {f"wave{i}": wave for i, wave in enumerate(given)})
        assert stems.shape[-1] == given[-1].shape[-1]
        assert worst(stems, torch.from_numpy(expected(kind, given)), floor=1e-6) < 1e-4


def test_there_are_no_branches_and_nothing_unused():
    model = build(network_of("octaves, stereo"), plain=True)
    assert {node.op_type for node in model.graph.node}.isdisjoint(("If", "Loop", "Scan"))
    used = {name for node in model.graph.node for name in node.input} | {entry.name for entry in model.graph.output}
    assert {constant.name for constant in model.graph.initializer} <= used
    assert all(set(node.output) & used for node in model.graph.node)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in inferred.graph.value_info}
    assert all(ranks.get(name) for node in inferred.graph.node if node.op_type == "Conv" for name in node.output)


def test_onnxruntime_has_nothing_to_say_at_its_usual_level(exported):
    code = "import sys, onnxruntime; onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
    command = [sys.executable, "-c", code, str(exported("octaves, stereo"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_openvino_gives_the_same(exported):
    openvino = pytest.importorskip("openvino")
    kind = "octaves, stereo"
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    compiled = openvino.compile_model(str(exported(kind)), "CPU", exact)
    for size in LENGTHS:
        given = waves(kind, *size)
        stems = compiled({f"wave{i}": wave for i, wave in enumerate(given)})["stems"]
        assert worst(stems, torch.from_numpy(expected(kind, given)), floor=1e-6) < 1e-3  # it has no double precision


IN_NODE = """
import fs from 'fs';
import { createRequire } from 'module';
const ort = createRequire(process.argv[2] + '/')('onnxruntime-web');
ort.env.wasm.numThreads = 1;
const model = new Uint8Array(fs.readFileSync(process.argv[3] + '/plain.onnx'));
const session = await ort.InferenceSession.create(model, { executionProviders: ['wasm'] });
const feeds = {};
for (const [name, dims] of Object.entries(JSON.parse(fs.readFileSync(process.argv[3] + '/shapes.json')))) {
  const bytes = fs.readFileSync(`${process.argv[3]}/${name}.bin`);
  feeds[name] = new ort.Tensor('float32', new Float32Array(new Uint8Array(bytes).buffer), dims);
}
const { stems } = await session.run(feeds);
const { buffer, byteOffset, byteLength } = stems.data;
fs.writeFileSync(process.argv[3] + '/stems.bin', Buffer.from(buffer, byteOffset, byteLength));
"""


@pytest.mark.skipif(not (ORT_WEB and shutil.which("node")), reason="needs node, and HYPERSTEM_ONNXRUNTIME_WEB=FOLDER")
def test_onnxruntime_web_gives_the_same(exported, tmp_path):
    kind = "octaves, stereo"
    exported(kind)
    given = waves(kind, *LENGTHS[0])
    for i, wave in enumerate(given):
        wave.astype("<f4").tofile(tmp_path / f"wave{i}.bin")
    (tmp_path / "shapes.json").write_text(json.dumps({f"wave{i}": wave.shape for i, wave in enumerate(given)}))
    (tmp_path / "run.mjs").write_text(IN_NODE)
    command = ["node", str(tmp_path / "run.mjs"), ORT_WEB, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    wanted = expected(kind, given)
    stems = np.fromfile(tmp_path / "stems.bin", "<f4").reshape(wanted.shape)
    assert worst(stems, torch.from_numpy(wanted), floor=1e-6) < 1e-4


def test_the_command_and_who_may_read_its_file(tmp_path, capsys):
    weights, output = tmp_path / "model.safetensors", tmp_path / "plain.onnx"
    store.save(weights, network_of("three stages"))
    assert main(["export", str(weights), str(output), "--plain", "--stages", "2", "--stems", "bass,vocals"]) == 0
    (stems,) = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"]).get_outputs()
    assert (stems.name, stems.shape[1]) == ("stems", 2)
    with pytest.raises(ModelError, match="exported with --plain, for other programs"):
        onnx_engine.load(output)
