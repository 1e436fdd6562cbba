"""Models that grow by stems' names, frozen rows, and memory: what a step needs and what it gives."""

import dataclasses
import math

import pytest
import torch

from hyperstem.config import STEMS, ConfigError, LossConfig, TrainConfig
from hyperstem.errors import ModelError
from hyperstem.models import store
from hyperstem.network import build
from hyperstem.training import checkpoint
from hyperstem.training.initial_weights import load_matching
from hyperstem.training.losses import Objective
from hyperstem.training.optim import build_optimizer, freeze
from hyperstem.training.recompute import recompute
from networks import TINY, small_network

FIVE = ("drums", "piano", "bass", "other", "vocals")


def saved(path, seed=1, **changes):
    network = small_network(seed, config=TINY, **changes)
    store.save(path, network)
    return network


def test_a_fifth_stem_takes_everything_that_four_know(tmp_path):
    small = saved(tmp_path / "four.safetensors")
    grown = small_network(2, config=TINY, stems=FIVE)
    before = grown.stages[0].embedding[1].clone()
    match = load_matching(grown, tmp_path / "four.safetensors")
    assert set(match.loaded) == set(small.state_dict()) and match.unused == []
    assert match.missing == [f"stages.{i}.embedding[piano]: not in the file" for i in range(2)]
    for stage, old in zip(grown.stages, small.stages, strict=True):
        for stem in STEMS:
            assert torch.equal(stage.embedding[FIVE.index(stem)], old.embedding[STEMS.index(stem)])
    assert torch.equal(grown.stages[0].embedding[1], before)
    with pytest.raises(ModelError, match=r"embedding\[piano\].*init_strict"):
        load_matching(grown, tmp_path / "four.safetensors", strict=True)


@pytest.mark.parametrize("parameters", ["generated", "independent"])
def test_stems_in_another_order_keep_their_names(tmp_path, parameters):
    small = saved(tmp_path / "model.safetensors", parameters=parameters)
    turned = small_network(2, config=TINY, stems=STEMS[::-1], parameters=parameters)
    load_matching(turned, tmp_path / "model.safetensors", strict=True)
    pyramid = [torch.randn(1, 400), torch.randn(1, 800)]
    with torch.no_grad():
        ours, theirs = turned(pyramid)[-1].stems, small(pyramid)[-1].stems
    torch.testing.assert_close(ours.flip(1), theirs, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_knows_its_stems_too(tmp_path):
    small = small_network(1, config=TINY)
    config = {"model": {"stems": list(STEMS)}}
    checkpoint.save(tmp_path / "checkpoint", {"network": small.state_dict()}, config)
    grown = small_network(2, config=TINY, stems=FIVE)
    load_matching(grown, tmp_path / "checkpoint")
    assert torch.equal(grown.stages[1].embedding[4], small.stages[1].embedding[3])


def test_rows_of_what_is_frozen_may_be_named_too():
    network = small_network(config=TINY)
    freeze(network, ("stages.0", "stages.0.embedding[drums]"))
    assert not network.stages[0].embedding.requires_grad


@pytest.mark.parametrize("optimizer", ["ranger", "adamw"])
@pytest.mark.parametrize("parameters", ["generated", "independent"])
def test_frozen_rows_stay_to_the_bit_while_others_move(optimizer, parameters):
    network = small_network(config=TINY, parameters=parameters).train()
    name = "stages.1.embedding" if parameters == "generated" else "stages.1.masking.exit.kernel.weights"
    assert freeze(network, (f"{name}[drums, vocals]",)) == [f"{name}[drums, vocals]"]
    weight = network.get_parameter(name)
    before = weight.detach().clone()
    trainer = build_optimizer(network, TrainConfig(optimizer=optimizer, weight_decay=0.1, learning_rate=0.01))
    for _ in range(7):  # one slow step of Ranger's among them
        trainer.zero_grad()
        network([torch.randn(2, 400), torch.randn(2, 800)])[-1].stems.square().mean().backward()
        assert not weight.grad[[0, 3]].any() and weight.grad[[1, 2]].any()
        trainer.step()
    assert torch.equal(weight[[0, 3]], before[[0, 3]])
    assert (weight[[1, 2]] - before[[1, 2]]).abs().amax(-1).min() > 0


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("stages.0.embedding[piano]", "stem 'piano'; the model's stems are drums, bass, other, vocals"),
        ("stages.0.encoder.mix.weight[drums]", "rows of 'stages.0.encoder.mix.weight'.*stages.0.embedding"),
        ("nothing[drums]", "rows of 'nothing'"),
    ],
)
def test_rows_that_are_not_there_are_named(prefix, words):
    with pytest.raises(ConfigError, match=words):
        freeze(small_network(config=TINY), (prefix,))


def step(network, batch, objective=None):
    mixtures, stems = batch
    report = (objective or Objective())(network, mixtures, stems, torch.ones(mixtures[0].shape[0], 4))
    network.zero_grad()
    report.total.backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
    return report.total.detach(), {name: gradient.clone() for name, gradient in gradients.items()}


def example(items, seed=0):
    generator = torch.Generator().manual_seed(seed)
    stems = [torch.randn(items, 4, 800 << i, generator=generator) for i in range(2)]
    return [wave.sum(1) for wave in stems], stems


@pytest.mark.parametrize("parameters", ["generated", "independent", "shared"])
def test_recomputing_gives_the_same_gradients(parameters):
    network = small_network(config=TINY, parameters=parameters).train()
    loss, gradients = step(network, example(3))
    assert recompute(network) == 2 * (TINY.blocks * TINY.stacks + 3)  # per stage blocks, masking, encoder, decoder
    again, recomputed = step(network, example(3))
    torch.testing.assert_close(again, loss, rtol=1e-6, atol=0)
    for name, gradient in gradients.items():
        assert (recomputed[name] - gradient).norm() <= 1e-5 * gradient.norm(), name


def kept_bytes(network, items=2):
    """Bytes that the forward pass keeps for the backward pass, parameters left out."""
    kept = {}

    def pack(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(example(items)[0])
    return sum(kept.values())


def test_recomputing_keeps_a_fraction():
    network = build(dataclasses.replace(TINY, blocks=6, stacks=3)).train()
    before = kept_bytes(network)
    recompute(network)
    assert kept_bytes(network) < before / 4


def test_accumulated_halves_are_the_whole_batch():
    """Where all stems sound; the similarity term compares neighbours and so depends on how a batch is cut."""
    network = small_network(config=TINY).train()
    objective = Objective(LossConfig(similarity=0.0))
    mixtures, stems = example(4)
    _, whole = step(network, (mixtures, stems), objective)
    halves = [
        step(network, ([wave[part] for wave in mixtures], [wave[part] for wave in stems]), objective)[1]
        for part in (slice(0, 2), slice(2, 4))
    ]
    vectors = [torch.cat([gradient.flatten() for gradient in each.values()]) for each in (*halves, whole)]
    assert (vectors[0] + vectors[1] - 2 * vectors[2]).norm() <= 1e-5 * vectors[2].norm()


def test_a_run_with_recomputation_is_the_run_without():
    """Through the trainer's own objects: the averaged network and copies of it still work."""
    network = small_network(config=TINY).train()
    recompute(network)
    folded = network.folded()
    pyramid = [torch.randn(1, 400), torch.randn(1, 800)]
    with torch.no_grad():
        torch.testing.assert_close(folded(pyramid)[-1].stems, network.eval()(pyramid)[-1].stems, rtol=1e-4, atol=1e-5)
    assert math.isfinite(step(network.train(), example(2))[0].item())
