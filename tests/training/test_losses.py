"""The objective: worked by hand, silent stems, gradients."""

import dataclasses
import math
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn import functional as F

from hyperstem.config import STEMS, ConfigError, LossConfig, ModelConfig
from hyperstem.network import StageOutput
from hyperstem.training.consistency import consistent
from hyperstem.training.losses import Objective, dissimilarity, si_snr, similarity, snr
from networks import TINY, small_network

KINDS = ["si_snr", "snr"]


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_si_snr_by_hand():
    # e = (3, 1), r = (1, 0): the target is (3, 0), the residual (0, 1): 10 log10(9 / 1).
    assert si_snr(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 0.0])).item() == pytest.approx(
        10 * math.log10(9), abs=1e-5
    )
    # e = (1, 1), r = (2, 0): target (1, 0), residual (0, 1): 0 dB.
    assert si_snr(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0])).item() == pytest.approx(0, abs=1e-5)


def test_si_snr_keeps_the_mean():
    reference, estimate = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor([2.0, 0.0, 2.0, 0.0])
    assert si_snr(estimate, reference).item() == pytest.approx(0, abs=1e-5)  # an offset as strong as the signal


@given(st.floats(0.01, 100), st.integers(0, 99))
def test_si_snr_does_not_hear_the_scale(gain, seed):
    estimate, reference = draw(300, seed=seed), draw(300, seed=seed + 1)
    assert si_snr(gain * estimate, reference).item() == pytest.approx(si_snr(estimate, reference).item(), abs=0.01)
    assert si_snr(estimate, gain * reference).item() == pytest.approx(si_snr(estimate, reference).item(), abs=0.01)


def test_si_snr_of_extremes_is_finite():
    zero, wave = torch.zeros(100), draw(100)
    for estimate, reference in ((zero, zero), (zero, wave), (wave, zero), (wave, wave)):
        assert si_snr(estimate, reference).isfinite()
    assert si_snr(wave, wave) > 60
    assert si_snr(zero, wave) == 0


def test_snr_flattens_at_its_threshold():
    reference = draw(1000)
    assert snr(reference, reference, 30.0).item() == pytest.approx(30, abs=1e-4)
    assert snr(reference * 0, reference, 30.0).item() == pytest.approx(-10 * math.log10(1.001), abs=1e-4)
    assert snr(1.1 * reference, reference, 30.0).item() == pytest.approx(-10 * math.log10(0.01 + 0.001), abs=1e-4)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(2, 6), st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**24 - 1))
def test_dissimilarity_is_the_sum_over_pairs(batch, stems, latent, frames, bits):
    latents = draw(batch, stems, latent, frames, seed=bits)
    active = torch.tensor([float(bits >> i & 1) for i in range(batch * stems)]).reshape(batch, stems)
    total, count = 0.0, 0.0
    for i, j in combinations(range(stems), 2):
        both = active[:, i] * active[:, j]
        total = total + (F.cosine_similarity(latents[:, i].abs(), latents[:, j].abs(), dim=1).mean(-1) * both).sum()
        count = count + both.sum()
    expected = total / max(count, 1e-8)
    assert dissimilarity(latents, active).item() == pytest.approx(float(expected), abs=1e-5)


def test_one_stem_alone_is_like_no_other():
    latents = draw(8, 4, 300, 20).requires_grad_()
    active = torch.eye(4).repeat(2, 1)
    value = dissimilarity(latents, active)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-5)
    assert latents.grad.abs().max() < 1e-5, "rounding was divided by next to nothing"


def test_similarity_compares_each_item_with_the_one_before():
    first, second = draw(1, 2, 4, 5), draw(1, 2, 4, 5, seed=1)
    active = torch.ones(2, 2)
    assert similarity(torch.cat([first, first]), active).item() == pytest.approx(1)
    assert similarity(torch.cat([first, -first]), active).item() == pytest.approx(-1)
    both = similarity(torch.cat([first, second]), torch.tensor([[1.0, 0], [1, 1]]))
    assert both.item() == pytest.approx(F.cosine_similarity(first[0, 0], second[0, 0], dim=0).mean().item(), abs=1e-6)


def test_gradients_in_double_precision():
    estimate, reference = (
        draw(2, 3, 40, dtype=torch.float64).requires_grad_(),
        draw(2, 3, 40, seed=1, dtype=torch.float64),
    )
    latents = draw(2, 3, 4, 5, seed=2, dtype=torch.float64).requires_grad_()
    active = torch.tensor([[1.0, 1, 0], [1, 1, 1]], dtype=torch.float64)
    assert gradcheck(si_snr, (estimate, reference))
    assert gradcheck(snr, (estimate, reference))
    assert gradcheck(lambda z: dissimilarity(z, active), (latents,))
    assert gradcheck(lambda z: similarity(z, active), (latents,))


class StandIn(torch.nn.Module):
    """Gives fixed estimates, with latents that are the waveforms' first samples."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs
        self.config = SimpleNamespace(stems=tuple(map(str, range(outputs[0].stems.shape[1]))))

    def training_outputs(self, pyramid):
        return self.outputs

    def targets(self, pyramid, stems):
        return pyramid, stems

    def stem_latents(self, stage, stems, target):
        return stems.flatten(2)[..., :12].unflatten(2, (3, 4))


def case(batch=3, stems=4, channels=(), stages=1, seed=0):
    truth = [draw(batch, stems, *channels, 200 << i, seed=seed + i) for i in range(stages)]
    outputs = [
        StageOutput(draw(*wave.shape, seed=seed + 50), torch.zeros(0), draw(*wave.sum(1).shape, seed=seed + 60))
        for wave in truth
    ]
    return StandIn(outputs), [wave.sum(1) for wave in truth], truth


def test_the_total_is_the_weighted_sum_of_the_parts():
    network, mixtures, stems = case(stages=2)
    report = Objective()(network, mixtures, stems, torch.ones(3, 4))
    expected = 0.0
    for i in range(2):
        part = {
            name.removeprefix(f"stage{i}/"): value
            for name, value in report.parts.items()
            if name.startswith(f"stage{i}/")
        }
        assert set(part) == {*(f"si_snr/{stem}" for stem in range(4)), "reconstruction", "dissimilarity", "similarity"}
        expected += (
            -sum(part[f"si_snr/{stem}"] for stem in range(4))
            - 0.05 * part["reconstruction"]
            + 3 * part["dissimilarity"]
            - 2 * part["similarity"]
        )
    assert report.total.item() == pytest.approx(expected.item(), rel=1e-5)
    weighed = Objective(LossConfig(stage_weights=(2.0, 0.0)))(network, mixtures, stems, torch.ones(3, 4))
    alone = Objective()(StandIn(network.outputs[:1]), mixtures[:1], stems[:1], torch.ones(3, 4))
    assert weighed.total.item() == pytest.approx(2 * alone.total.item(), rel=1e-5)


def test_the_score_of_a_stem_is_its_mean_over_active_items():
    network, mixtures, stems = case()
    active = torch.tensor([[1.0, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    parts = Objective()(network, mixtures, stems, [active]).parts
    scores = si_snr(network.outputs[0].stems, stems[0])
    assert parts["stage0/si_snr/0"].item() == pytest.approx(scores[:, 0].mean().item(), rel=1e-5)
    assert parts["stage0/si_snr/1"].item() == pytest.approx(scores[1, 1].item(), rel=1e-5)
    assert parts["stage0/si_snr/2"].item() == pytest.approx(scores[0, 2].item(), rel=1e-5)
    assert parts["stage0/si_snr/3"].item() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_silent_stems_weigh_nothing(kind):
    config = LossConfig(kind=kind, snr_mix=0.2)
    network, mixtures, stems = case()
    active = torch.ones(3, 4)
    active[:, 2] = 0
    stems[0][:, 2] = 0
    before = Objective(config)(network, mixtures, stems, active).total
    output = network.outputs[0]
    other = StandIn(
        [output._replace(stems=torch.cat([output.stems[:, :2], draw(3, 1, 200, seed=9), output.stems[:, 3:]], 1))]
    )
    assert Objective(config)(other, mixtures, stems, active).total.item() == pytest.approx(before.item(), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("silent", ["all", "one item", "one stem"])
def test_silence_gives_finite_losses_and_gradients(kind, channels, silent):
    network = small_network(config=TINY, audio_channels=channels).train()
    channel = () if channels == 1 else (2,)
    stems = [draw(2, 4, *channel, 500 << i) for i in range(2)]
    active = torch.ones(2, 4)
    for wave in stems:
        where = {"all": (slice(None),), "one item": (1,), "one stem": (slice(None), 1)}[silent]
        wave[where] = 0
        active[where] = 0
    objective = Objective(LossConfig(kind=kind, silence=0.1, snr_mix=0.3))
    report = objective(network, [wave.sum(1) for wave in stems], stems, active)
    report.total.backward()
    assert report.total.isfinite()
    assert all(value.isfinite() for value in report.parts.values())
    assert all(tensor.grad.isfinite().all() for tensor in network.parameters() if tensor.grad is not None)


def test_leaks_into_silent_stems_are_told():
    network, mixtures, stems = case()
    active = torch.tensor([[1.0, 1, 1, 0]] * 3)
    parts = Objective(LossConfig(silence=1.0))(network, mixtures, stems, active).parts
    ratio = network.outputs[0].stems[:, 3].square().sum(-1) / mixtures[0].square().sum(-1)
    assert parts["stage0/silence"].item() == pytest.approx((10 * torch.log10(1 + 1000 * ratio)).mean().item(), rel=1e-4)


def test_merged_stems_are_scored_as_their_sum():
    network, mixtures, stems = case()
    merge = torch.eye(4).repeat(3, 1, 1)
    merge[0, 2], merge[0, 3] = torch.tensor([0.0, 0, 1, 1]), 0.0  # item 0: other and vocals known only together
    active = torch.ones(3, 4)
    active[0, 3] = 0
    targets = stems[0].clone()
    targets[0, 2] += targets[0, 3]
    targets[0, 3] = 0
    config = LossConfig(dissimilarity=0, similarity=0, silence=1.0)
    report = Objective(config)(network, mixtures, [targets], active, merge)
    estimates = network.outputs[0].stems
    joined = si_snr(estimates[0, 2] + estimates[0, 3], targets[0, 2])
    expected = (joined + si_snr(estimates[1:, 2], stems[0][1:, 2]).sum()) / 3
    assert report.parts["stage0/si_snr/2"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert report.parts["stage0/silence"].item() == 0, "the row that is no stem of its own is not silent"
    plain = Objective(config)(network, mixtures, stems, torch.ones(3, 4))
    same = Objective(config)(network, mixtures, stems, torch.ones(3, 4), torch.eye(4).repeat(3, 1, 1))
    assert same.total.item() == pytest.approx(plain.total.item(), rel=1e-6)


def test_channels_are_scored_as_one_signal():
    network, mixtures, stems = case(channels=(2,))
    flat = StandIn(
        [StageOutput(output.stems.flatten(2), output.latent, output.mixture.flatten(1)) for output in network.outputs]
    )
    config = LossConfig(dissimilarity=0, similarity=0)
    together = Objective(config)(network, mixtures, stems, torch.ones(3, 4))
    apart = Objective(config)(
        flat, [wave.flatten(1) for wave in mixtures], [wave.flatten(2) for wave in stems], torch.ones(3, 4)
    )
    assert together.total.item() == pytest.approx(apart.total.item(), rel=1e-6)


def test_latents_are_not_taken_where_they_are_not_needed():
    network, mixtures, stems = case()
    network.encode = None
    Objective(LossConfig(dissimilarity=0, similarity=0))(network, mixtures, stems, torch.ones(3, 4))


def test_lists_that_do_not_match_the_stages_are_told():
    network, mixtures, stems = case(stages=2)
    active = torch.ones(3, 4)
    for arguments in ((mixtures, stems[:1], active), (mixtures, stems, [active]), (mixtures, stems, [active] * 3)):
        with pytest.raises(ConfigError, match="2 stages"):
            Objective()(network, *arguments)


def test_each_kind_prefers_the_truth():
    _, mixtures, stems = case()
    for kind in KINDS:
        objective = Objective(dataclasses.replace(LossConfig(), kind=kind))
        totals = [
            objective(
                StandIn([StageOutput(stems[0] + amount * draw(*stems[0].shape, seed=7), torch.zeros(0), mixtures[0])]),
                mixtures,
                stems,
                torch.ones(3, 4),
            ).total.item()
            for amount in (0.0, 0.1, 1.0)
        ]
        assert totals == sorted(totals), kind


def test_signed_si_snr_takes_an_inverted_estimate_for_a_bad_one():
    reference = torch.randn(2, 800, generator=torch.Generator().manual_seed(0))
    noise = 0.1 * torch.randn(2, 800, generator=torch.Generator().manual_seed(1))
    estimate = (reference + noise).requires_grad_()
    assert torch.equal(si_snr(estimate, reference, signed=True), si_snr(estimate, reference))
    inverted = (-estimate).detach().requires_grad_()
    torch.testing.assert_close(si_snr(inverted, reference), si_snr(estimate, reference))
    score = si_snr(inverted, reference, signed=True)
    assert (score < -80).all()
    (gradient,) = torch.autograd.grad(score.sum(), inverted)
    assert (gradient * inverted).sum() < 0  # it is drawn towards silence, through which the way to the right sign leads


def test_stems_can_be_scored_as_they_are_delivered():
    network, mixtures, stems = case(channels=(2,))
    network.config = ModelConfig(stages=1, audio_channels=2)
    parts = Objective(LossConfig(consistent=True))(network, mixtures, stems, torch.ones(3, 4)).parts
    delivered = consistent(network.outputs[0].stems, mixtures[0], 8000)
    expected = si_snr(delivered.flatten(2), stems[0].flatten(2)).mean(0)
    scores = torch.stack([parts[f"stage0/si_snr/{stem}"] for stem in STEMS])
    torch.testing.assert_close(scores, expected)
