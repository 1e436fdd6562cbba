"""The extractors and their masks."""

import dataclasses

import pytest
import torch

from hyperstem.network.masking import Masking
from networks import TINY, small_network


def masking_and_inputs(parameters, stems=4, stage=1, seed=0):
    torch.manual_seed(seed)
    config = dataclasses.replace(TINY, parameters=parameters, stems=tuple("abcdef"[:stems]))
    sizes = config.stage_configs[stage]
    embedding = torch.randn(stems, config.embedding_dim) if parameters == "generated" else None
    previous = torch.randn(2, stems, sizes.previous_dim, 25) if stage else None
    return Masking(config, sizes).eval(), torch.randn(2, sizes.latent_dim, 25), previous, embedding


@pytest.mark.parametrize("parameters", ["generated", "independent", "shared"])
@pytest.mark.parametrize("stems", [2, 3, 6])
@pytest.mark.parametrize("stage", [0, 1])
def test_masks_sum_to_one(parameters, stems, stage):
    masking, latent, previous, embedding = masking_and_inputs(parameters, stems, stage)
    masks = masking(latent, previous, embedding)
    assert masks.shape == (2, stems, *latent.shape[1:])
    assert masks.min() >= 0
    torch.testing.assert_close(masks.sum(1), torch.ones_like(latent))
    assert masks.std(1).max() > 1e-3, "the stems' masks do not differ"


@pytest.mark.parametrize("parameters", ["generated", "independent"])
def test_an_extractor_hears_only_its_own_stem_of_the_stage_before(parameters):
    masking, latent, previous, embedding = masking_and_inputs(parameters)
    scores = []
    for changed in (previous, previous + torch.tensor([0.0, 0, 1, 0])[:, None, None] * torch.randn_like(previous)):
        masks = masking(latent, changed, embedding)
        scores.append((masks[:, 0] / masks[:, 1], masks[:, 0] / masks[:, 2]))
    torch.testing.assert_close(scores[0][0], scores[1][0], rtol=1e-3, atol=1e-5)
    assert (scores[0][1] / scores[1][1] - 1).abs().max() > 1e-2


def test_one_extractor_for_all_hears_all_of_the_stage_before():
    masking, latent, previous, _ = masking_and_inputs("shared")
    changed = previous + torch.tensor([0.0, 0, 1, 0])[:, None, None] * torch.randn_like(previous)
    assert (masking(latent, previous, None) - masking(latent, changed, None)).abs().amax((0, 2, 3)).min() > 1e-3


def test_items_of_a_batch_do_not_meet():
    masking, latent, previous, embedding = masking_and_inputs("generated")
    together = masking(latent, previous, embedding)
    alone = masking(latent[1:], previous[1:], embedding)
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-6)


def test_what_a_block_reaches():
    """Blocks of dilation 1 and 2 with three taps see three frames to each side; norms apart, nothing more."""
    network = small_network(config=TINY, stages=1)
    blocks = network.stages[0].masking.blocks
    assert [block.dilated.dilation for block in blocks] == [1, 2]
    weights = [block.dilated.weights(network.stages[0].embedding).weight for block in blocks]
    assert all(weight.shape == (4, TINY.hidden_dim, 3) for weight in weights)
