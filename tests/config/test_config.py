"""Settings: built from TOML, checked where they are born."""

import dataclasses
import json
import math
import types
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperstem.config import (
    AugmentConfig,
    ConfigError,
    DataConfig,
    LossConfig,
    MixingConfig,
    ModelConfig,
    SourceConfig,
    TrainConfig,
    from_mapping,
    load_toml,
    to_mapping,
)
from hyperstem.synth.library import SynthConfig

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_defaults_are_the_papers():
    assert from_mapping(ModelConfig, load_toml(CONFIGS / "paper.toml")["model"], "paper.toml") == ModelConfig()
    assert ModelConfig().rates_hz == (8000, 16000, 32000)


def test_stages_double_rate_latent_kernels_hop_and_stft():
    stage = ModelConfig().stage_configs[2]
    assert (stage.rate_hz, stage.latent_dim, stage.kernels, stage.hop) == (32000, 1760, (80, 160, 320), 80)
    assert (stage.n_fft, stage.stft_hop, stage.bins, stage.mels, stage.previous_dim) == (4096, 1024, 2049, 256, 880)
    assert stage.decoder_channels == (880, 440, 220)


def test_sizes_given_per_stage_are_not_scaled():
    config = ModelConfig(stages=2, latent_dim=(64, 32), blocks=(3, 1))
    assert [stage.latent_dim for stage in config.stage_configs] == [64, 32]
    assert config.first_stages(1) == dataclasses.replace(config, stages=1, latent_dim=(64,), blocks=(3,))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stems", ("vocals",)),
        ("stems", ("a", "a")),
        ("stems", ("a", "")),
        ("stems", ("a", "b/c")),
        ("stems", ("a", ".b")),
        ("stems", ("a,b", "c")),
        ("stems", ("a", "b\n")),
        ("stages", 0),
        ("stages", 5),
        ("audio_channels", 3),
        ("base_rate_hz", 10),
        ("latent_dim", 0),
        ("latent_dim", 4),
        ("latent_dim", 441),
        ("latent_dim", (440, 880)),
        ("kernels", ()),
        ("kernels", (0, 20)),
        ("kernels", (10,)),
        ("hop", 0),
        ("hop", 161),
        ("mels", 0),
        ("mels", (16,)),
        ("n_fft", 15),
        ("n_fft", 1023),
        ("stft_hop", 0),
        ("stft_hop", 1025),
        ("bottleneck_dim", 12),
        ("bottleneck_dim", 0),
        ("hidden_dim", -8),
        ("kernel_size", 2),
        ("kernel_size", -1),
        ("blocks", 0),
        ("blocks", (6, 6, 0)),
        ("stacks", 0),
        ("norm_groups", 0),
        ("norm_groups", 7),
        ("embedding_dim", 0),
        ("embedding_bottleneck", 0),
        ("segment_s", 0.0),
        ("segment_s", math.nan),
        ("segment_s", math.inf),
    ],
)
def test_values_out_of_range_are_named(key, value):
    with pytest.raises(ConfigError, match=r"latent_dim" if key == "norm_groups" and value else key):
        ModelConfig(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stems", "vocals"),
        ("stems", [1, 2]),
        ("stages", 2.0),
        ("stages", "3"),
        ("stages", True),
        ("latent_dim", [1.5]),
        ("latent_dim", None),
        ("kernels", 20),
        ("residual_bias", 1),
        ("residual_bias", "yes"),
        ("parameters", "other"),
        ("segment_s", "8 s"),
        ("stages", {}),
    ],
)
def test_values_of_a_wrong_type_name_key_and_place(key, value):
    with pytest.raises(ConfigError, match=rf"paper.toml \[model\]: {key}"):
        from_mapping(ModelConfig, {key: value}, "paper.toml [model]")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", "sdr"),
        ("dissimilarity", -1.0),
        ("similarity", math.nan),
        ("reconstruction", math.inf),
        ("snr_mix", 1.5),
        ("stage_weights", (1.0, -1.0)),
        ("snr_threshold_db", math.nan),
    ],
)
def test_wrong_losses_are_named(key, value):
    with pytest.raises(ConfigError, match=key):
        from_mapping(LossConfig, {key: value}, "a.toml [loss]")


def numbers(hint, value):
    """`hint` with its numbers in the places where a setting holds any, each replaced by `value`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return numbers(arguments[0], value)
    if origin in (typing.Union, types.UnionType):
        return [wrong for option in arguments for wrong in numbers(option, value)]
    if origin is tuple:
        return [(wrong, wrong) for wrong in numbers(arguments[0], value)]
    if origin is dict:
        return [{"key": wrong} for wrong in numbers(arguments[1], value)]
    return [value] if hint is float else []


SOURCE = SourceConfig("a", "folders", "a")
MADE = [ModelConfig(), LossConfig(), TrainConfig(), SOURCE, MixingConfig(), AugmentConfig(), DataConfig((SOURCE,))]
NUMBERS = [
    (settings, name, wrong)
    for settings in MADE
    for name, hint in typing.get_type_hints(type(settings), include_extras=True).items()
    for value in (math.nan, math.inf, -math.inf)
    for wrong in numbers(hint, value)
]


@pytest.mark.parametrize(
    ("settings", "name", "wrong"), NUMBERS, ids=lambda each: each if isinstance(each, str) else type(each).__name__
)
def test_no_number_of_any_setting_is_infinite_or_none_at_all(settings, name, wrong):
    with pytest.raises(ConfigError, match=name):
        dataclasses.replace(settings, **{name: wrong})
    with pytest.raises(ConfigError, match=rf"here: {name}"):
        from_mapping(type(settings), to_mapping(settings) | {name: wrong}, "here")


def test_the_numbers_of_every_table_are_tried():
    tried = {(type(settings), name) for settings, name, _ in NUMBERS}
    assert {(MixingConfig, "gain"), (MixingConfig, "active_db"), (LossConfig, "stage_weights")} <= tried
    assert {(TrainConfig, "rate_factors"), (TrainConfig, "betas"), (DataConfig, "segment_s")} <= tried


@pytest.mark.parametrize(
    ("kind", "key", "value", "says"),
    [
        (MixingConfig, "gain", [0.0, 1.0], r"gain\[0\] is 0.0; it must be above 0"),
        (MixingConfig, "remix", 1.5, "remix is 1.5; it must be at least 0 and at most 1"),
        (TrainConfig, "betas", [0.9, 1.0], r"betas\[1\] is 1.0; it must be at least 0 and below 1"),
        (TrainConfig, "rate_factors", {"a": 0}, "rate_factors.a is 0.0; it must be above 0"),
        (TrainConfig, "batch", 0, "batch is 0; it must be at least 1"),
        (ModelConfig, "blocks", [6, 6, 0], r"blocks\[2\] is 0; it must be at least 1"),
        (MixingConfig, "active_db", math.nan, "active_db is nan; it must be a finite number"),
        (LossConfig, "silence", 10**400, "silence is inf; it must be at least 0"),
        (ModelConfig, "segment_s", None, "segment_s is None; expected a number"),
        (ModelConfig, "blocks", "6", "blocks is '6'; expected an integer or a list, each an integer"),
    ],
)
def test_limits_are_said_where_settings_are_read_and_where_they_are_made(kind, key, value, says):
    for make in (lambda: kind(**{key: value}), lambda: from_mapping(kind, {key: value}, "here")):
        with pytest.raises(ConfigError, match=says):
            make()


def test_settings_made_in_python_are_those_read_from_a_file():
    assert MixingConfig(gain=[1, 2]) == MixingConfig(gain=(1.0, 2.0))  # type: ignore[arg-type]
    assert isinstance(ModelConfig(segment_s=4).segment_s, float)
    with pytest.raises(ConfigError, match="steps is '3'; expected an integer"):
        TrainConfig(steps="3")  # type: ignore[arg-type]
    data = DataConfig(sources=[{"name": "a", "layout": "folders", "path": "a"}])  # type: ignore[arg-type]
    assert data.sources == (SOURCE,)


def test_an_unknown_key_is_named_with_its_place_and_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"my.toml \[model\]: unknown key 'latent'; known keys are stems, .*latent_dim"
    ):
        from_mapping(ModelConfig, {"latent": 3}, "my.toml [model]")


def test_an_integer_passes_for_a_number():
    assert from_mapping(ModelConfig, {"segment_s": 4}, "here").segment_s == 4.0


def test_files_that_are_no_toml(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("[model\nstages = 3")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (broken, binary, tmp_path / "none.toml"):
        with pytest.raises(ConfigError, match=path.name):
            load_toml(path)


@given(
    st.builds(
        ModelConfig,
        stems=st.lists(st.sampled_from(["a", "b", "drums", "e-guitar", "ü"]), min_size=2, unique=True).map(tuple),
        stages=st.integers(1, 4),
        audio_channels=st.integers(1, 2),
        latent_dim=st.integers(2, 9).map(lambda n: 8 * n),
        kernels=st.lists(st.integers(40, 99), min_size=1, max_size=3).map(tuple),
        hop=st.integers(1, 40),
        parameters=st.sampled_from(["generated", "independent", "shared"]),
    )
)
def test_a_config_survives_json(config):
    assert from_mapping(ModelConfig, json.loads(json.dumps(to_mapping(config))), "json") == config


@given(st.integers(1, 40), st.integers(1, 5000), st.integers(1, 3))
def test_frames_cover_every_waveform(hop, length, stages):
    config = ModelConfig(hop=hop, kernels=(40,), n_fft=64, stft_hop=16)
    lengths = tuple(length << i for i in range(stages))
    frames = config.frames(lengths)
    assert frames * hop >= max(length, config.n_fft // 2 + 1)
    assert frames == 1 or (frames - 1) * hop < max(length, config.n_fft // 2 + 1)


@pytest.mark.parametrize(
    ("lengths", "word"),
    [
        ((), "0 rates"),
        ((8, 16, 32, 64), "4 rates"),
        ((0,), "empty"),
        ((100, 100), "stage 1.*100.*200"),
        ((100, 200, 500), "stage 2.*500.*400"),
        ((100, 203), "203"),
    ],
)
def test_lengths_that_do_not_belong_together(lengths, word):
    with pytest.raises(ConfigError, match=word):
        ModelConfig().frames(lengths)


@pytest.mark.parametrize("count", [0, 4, -1])
def test_cutting_to_stages_that_are_not_there(count):
    with pytest.raises(ConfigError, match=str(count)):
        ModelConfig().first_stages(count)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"songs": 0}, "songs is 0; it must be at least 1"),
        ({"seconds": math.nan}, "seconds is nan; it must be at least 1 and at most 3600"),
        ({"seed": 1 << 32}, "seed is 4294967296; it must be at least 0 and at most 4294967295"),
        ({"rate_hz": 100}, "rate_hz is 100; it must be at least 8000 and at most 96000"),
    ],
)
def test_settings_of_the_band_have_limits_too(wrong, says):
    with pytest.raises(ConfigError, match=says):
        SynthConfig(**wrong)
