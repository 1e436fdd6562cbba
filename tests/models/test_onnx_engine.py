"""Running exported networks: what is refused, and how."""

import dataclasses
import json

import numpy as np
import pytest

from networks import TINY, small_network

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402  (after the check for onnx)

from hyperstem.config import ConfigError, ModelConfig, to_mapping  # noqa: E402
from hyperstem.errors import ModelError  # noqa: E402
from hyperstem.models import onnx_engine  # noqa: E402
from hyperstem.models.export import build, export  # noqa: E402


@pytest.fixture(scope="module", params=[1, 2], ids=["mono", "stereo"])
def session(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    export(small_network(config=TINY, audio_channels=request.param), str(path))
    return onnx_engine.load(str(path), threads=1)


def test_what_a_model_says_of_itself(session):
    assert session.config == dataclasses.replace(TINY, audio_channels=session.config.audio_channels)
    assert (session.stems, session.stages) == (TINY.stems, 2)


def test_outputs_are_as_long_as_the_inputs(session):
    channel = () if session.config.audio_channels == 1 else (2,)
    waves = [np.ones((3, *channel, length), np.float64) for length in (77, 155)]
    for output, wave in zip(session(waves), waves, strict=True):
        assert output.mixture.shape == wave.shape
        assert output.stems.shape == (3, 4, *wave.shape[1:])
        assert output.mixture.dtype == np.float32


@pytest.mark.parametrize(
    ("shapes", "word"),
    [
        ([], "0 rates"),
        ([(1, 100), (1, 200), (1, 400)], "3 rates"),
        ([(1, 100), (1, 150)], "stage 1.*150.*200"),
        ([(1, 0)], "empty"),
        ([(0, 100)], "batch"),
        ([(1, 100), (2, 200)], "stage 1.*batch 1"),
    ],
)
def test_wrong_shapes_are_told(session, shapes, word):
    channels = session.config.audio_channels
    waves = [np.zeros(shape if channels == 1 else (shape[0], 2, shape[1]), np.float32) for shape in shapes]
    with pytest.raises(ConfigError, match=word):
        session(waves)
    with pytest.raises(ConfigError, match=word):
        session.separate([np.zeros((shape[0], channels, shape[1]), np.float32) for shape in shapes])


@pytest.mark.parametrize("shape", [(), (100,), (1, 3, 100), (1, 1, 1, 100)])
def test_wrong_axes_are_told(session, shape):
    with pytest.raises(ConfigError, match="shape"):
        session([np.zeros(shape, np.float32)])
    with pytest.raises(ConfigError, match="shape"):
        session.separate([np.zeros(shape, np.float32)])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_told(session, value):
    waves = [np.zeros((1, session.config.audio_channels, length), np.float32) for length in (100, 200)]
    waves[1][0, 0, 17] = value
    with pytest.raises(ConfigError, match=r"stage 1.*not finite"):
        session.separate(waves)


def test_whole_numbers_are_told(session):
    with pytest.raises(ConfigError, match="int16"):
        session.separate([np.zeros((1, session.config.audio_channels, 100), np.int16)])


def foreign_model(metadata):
    node = helper.make_node("Identity", ["a"], ["b"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    model = helper.make_model(
        helper.make_graph([node], "g", values[:1], values[1:]), opset_imports=[helper.make_opsetid("", 20)]
    )
    model.ir_version = 9
    helper.set_model_props(model, metadata)
    return model.SerializeToString()


OURS = {"format": "hyperstem-1", "config": json.dumps(to_mapping(ModelConfig())), "stems": "drums,bass,other,vocals"}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"just a text\n", "no ONNX model"),
        (b"", "no ONNX model"),
        (foreign_model({}), "not one of hyperstem's.*'nothing'"),
        (foreign_model({"format": "hyperstem-9", "config": "{}"}), "hyperstem-9"),
        (foreign_model({"format": "hyperstem-1"}), "hyperstem"),
        (foreign_model(OURS | {"config": "{"}), "config is damaged"),
        (foreign_model(OURS | {"config": "[1]"}), "config is damaged"),
        (foreign_model(OURS | {"config": '{"latent": 3}'}), "latent"),
        (foreign_model(OURS), "inputs"),
        (foreign_model(OURS | {"stems": "piano"}), "piano|inputs"),
    ],
)
def test_files_that_are_none_of_ours(content, word, tmp_path):
    path = tmp_path / "foreign.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"foreign.onnx.*{word}"):
        onnx_engine.load(path)


def test_a_truncated_model(tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(build(small_network(config=TINY)).SerializeToString()[:-2000])
    with pytest.raises(ModelError, match=r"cut.onnx"):
        onnx_engine.load(path)


def test_no_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ModelError, match="no model file"):
            onnx_engine.load(path)
