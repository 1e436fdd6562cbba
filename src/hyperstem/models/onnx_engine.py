"""Runs an exported network with onnxruntime; torch is not needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from hyperstem import memory
from hyperstem.config import ModelConfig, NetworkConfig, UNetConfig
from hyperstem.errors import ModelError
from hyperstem.models.onnx_unet import UNetRuntime
from hyperstem.models.store import FORMAT, PLAIN, config_from_json


class StageOutput(NamedTuple):
    """The output of one stage; with two audio channels a channel axis precedes time."""

    stems: np.ndarray
    """Separated waveforms (batch, stem, time), float32."""
    latent: np.ndarray
    """Masked latents (batch, stem, latent, frame), float32."""
    mixture: np.ndarray
    """The waveform decoded from the unmasked latent (batch, time), float32."""


class Runtime:
    """An exported network; may be called from several threads at once.

    Attributes:
        config: the exported network's config.
        stems: names of the stems it decodes, in order.
        stages: how many stages it has.
    """

    def __init__(self, session: onnxruntime.InferenceSession, config: ModelConfig, stems: tuple[str, ...]) -> None:
        self._session, self.config, self.stems, self.stages = session, config, stems, config.stages

    def __call__(self, pyramid: Sequence[np.ndarray]) -> list[StageOutput]:
        """Separates a mixture given at every stage's rate; called like a MetaTasNet.

        Args:
            pyramid: one (batch, time_i) float32 array per stage, or (batch, channel, time_i) for a model with two audio
                channels. Fewer rates run fewer stages.

        Returns:
            One StageOutput per rate, its waveforms exactly time_i long.

        Raises:
            ConfigError: wrong number of rates, shapes or lengths, or samples that are not finite.
        """
        mono = self.config.audio_channels == 1
        waves = [np.expand_dims(wave, 1) if mono and np.ndim(wave) == 2 else np.asarray(wave) for wave in pyramid]
        everything = [len(self.stems) + 1] * len(waves)
        outputs = []
        for decoded, latent in self._run(waves, everything):
            decoded = decoded.squeeze(2) if mono else decoded
            outputs.append(StageOutput(decoded[:, :-1], latent, decoded[:, -1]))
        return outputs

    def separate(self, pyramid: Sequence[np.ndarray]) -> np.ndarray:
        """The stems of the last stage whose rate is given; earlier stages are decoded only if that stage adds to them.

        Args:
            pyramid: (batch, channel, time_i) float32 per stage, from the first on.

        Returns:
            (batch, stem, channel, time) float32 at the last given rate.

        Raises:
            ConfigError: see `__call__`.
        """
        below = len(self.stems) if self.config.octaves else 0
        decode = [below] * (len(pyramid) - 1) + [len(self.stems)]
        return self._run([np.asarray(wave) for wave in pyramid], decode)[-1][0]

    def _run(self, waves: list[np.ndarray], decode: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Runs one stage per wave.

        Returns:
            Per stage, the first `decode` waveforms (stems, then mixture; batch, decode, channel, time) and masked
            latents.
        """
        channels = self.config.audio_channels
        mono = [channels == 1 and wave.shape[1:2] == (1,) for wave in waves]
        shapes = [wave.shape[:1] + wave.shape[2:] if one else wave.shape for wave, one in zip(waves, mono, strict=True)]
        finite = [bool(np.isfinite(wave).all()) for wave in waves]
        self.config.check_pyramid(shapes, [wave.dtype for wave in waves], finite)
        feeds = {"stages": np.array([len(waves)])}
        for i in range(self.stages):
            given = i < len(waves)
            wave = waves[i] if given else np.zeros((1, channels, 1))
            feeds[f"wave{i}"] = np.ascontiguousarray(wave, np.float32)
            feeds[f"pick{i}"] = np.arange(decode[i] if given else 0)
        fetches = [f"{kind}{i}" for i in range(len(waves)) for kind in ("waves", "latent")]
        found: list[Any] = list(self._session.run(fetches, feeds))
        return list(zip(found[::2], found[1::2], strict=True))


def load(path: str | Path, threads: int | None = None) -> Runtime | UNetRuntime:
    """The network in an ``.onnx`` file that `hyperstem export` wrote.

    Args:
        path: the file.
        threads: how many threads one call uses; by default all cores.

    Raises:
        ModelError: the file is missing, is not an ONNX model, or was not written by hyperstem.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    # Waiting threads sleep instead of spinning, so that decoding and writing can use the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False  # memory patterns take 50 % more memory and save no time
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base
        raise ModelError(f"{path} is no ONNX model that onnxruntime can run ({type(error).__name__})") from None
    memory.return_freed()  # some 60 MB that loading took
    metadata = session.get_modelmeta().custom_metadata_map
    if metadata.get("format") == PLAIN:
        raise ModelError(f"{path} was exported with --plain, for other programs; export it again without that")
    if metadata.get("format") != FORMAT or "config" not in metadata:
        raise ModelError(
            f"{path} is an ONNX model, but not one of hyperstem's: its metadata says "
            f"{metadata.get('format', 'nothing')!r}, expected {FORMAT!r}"
        )
    config = config_from_json(metadata["config"], str(path))
    stems = tuple(metadata.get("stems", ",".join(config.stems)).split(","))
    inputs = _inputs(config)
    if {entry.name for entry in session.get_inputs()} != inputs or not set(stems) <= set(config.stems):
        raise ModelError(
            f"{path} is damaged or foreign: its stems {', '.join(stems)} or its inputs are not those of its config"
        )
    return UNetRuntime(session, config, stems) if isinstance(config, UNetConfig) else Runtime(session, config, stems)


def _inputs(config: NetworkConfig) -> set[str]:
    """Names of the graph's inputs."""
    unet = isinstance(config, UNetConfig)
    tasnet = config.draft if isinstance(config, UNetConfig) else config
    if tasnet is None:
        return {"mixture"}
    waves = {f"{name}{i}" for name in ("wave", "pick") for i in range(tasnet.stages)}
    return waves | {"stages"} | ({"mixture", "draft"} if unet else set())
