"""Exports a network as one ONNX file, with its generator folded into constants.

The graph is written node by node rather than traced: the operators are the ones that onnxruntime runs fastest (1x1 and
depthwise ``Conv``, ``InstanceNormalization``, ``LeakyRelu``), batch and length stay free, and neither embeddings nor
generator can remain in it.

Inputs are ``stages`` (1,), how many stages to run; per stage i ``wave{i}`` (batch, channel, time_i), of a single sample
for a stage that is not run; and ``pick{i}``, which waveforms to decode: indices of stems, or the number of stems for
the mixture. Outputs, per stage i, are ``waves{i}`` (batch, pick, channel, time_i) and ``latent{i}`` (batch, stem,
latent, frame), empty if not requested. What is not requested is not computed. In a network with octaves each stage adds
to the waveforms of the stage before: there all stages that are run need the same picks.

The plain form is for other programs, some of which do not support branches: all stages run on the inputs ``wave{i}``,
and the one output is ``stems`` (batch, stem, channel, time), at the last stage's rate.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx

from hyperstem.config import ModelConfig
from hyperstem.errors import ModelError
from hyperstem.files import replacing
from hyperstem.models.export_layers import add_tasnet
from hyperstem.models.export_unet import add_unet
from hyperstem.models.onnx_graph import Graph, Precision
from hyperstem.models.store import FORMAT, PLAIN, config_to_json
from hyperstem.network import AnyNetwork, MetaTasNet, MetaUNet

OPSET, IR_VERSION = 20, 9


def export(
    network: AnyNetwork,
    path: str | Path,
    stages: int | None = None,
    stems: Sequence[str] | None = None,
    precision: Precision = "float32",
    plain: bool = False,
) -> None:
    """Writes a network as ONNX; the file appears complete or not at all.

    Args:
        network: the network; it is not modified.
        path: the ``.onnx`` file.
        stages: how many of its stages to write, starting with the first; all by default.
        stems: which stems can be decoded, in this order; all by default. (Masks always need every stem's extractor.)
        precision: how weights are stored. float16 halves the file, int8 halves it again; it is computed in float32
            in any case.
        plain: one path through all stages, without branches and loops.

    Raises:
        ModelError: `stems` names an unknown stem, or one twice.
        ConfigError: `stages` is out of range.
    """
    model = build(network, stages, stems, precision, plain)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(model.SerializeToString())


def build(
    network: AnyNetwork,
    stages: int | None = None,
    stems: Sequence[str] | None = None,
    precision: Precision = "float32",
    plain: bool = False,
) -> onnx.ModelProto:
    """The ONNX model that `export` writes; see there."""
    config = network.config.first_stages(network.config.stages if stages is None else stages)
    if isinstance(network, MetaUNet) and network.draft is not None and isinstance(config, ModelConfig):
        network = network.draft
    chosen = tuple(stems or config.stems)
    for stem in chosen:
        if stem not in config.stems:
            raise ModelError(f"no stem {stem!r}; this model separates {', '.join(config.stems)}")
        if chosen.count(stem) > 1:
            raise ModelError(f"stem {stem!r} is asked for twice")
    picked = [config.stems.index(stem) for stem in chosen]
    graph = Graph("hyperstem", precision, plain)
    if isinstance(config, ModelConfig) and isinstance(network, MetaTasNet):
        add_tasnet(graph, network.folded().float(), config, picked)
    elif isinstance(network, MetaUNet):
        add_unet(graph, network.folded().float(), picked)
    metadata = {"format": PLAIN if plain else FORMAT, "config": config_to_json(config), "stems": ",".join(chosen)}
    return graph.model(OPSET, IR_VERSION, metadata)
