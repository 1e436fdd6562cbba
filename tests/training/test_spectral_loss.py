import pytest
import torch

from hyperstem.config import ModelConfig, SpectralLossConfig
from hyperstem.training.spectral_loss import (
    Energies,
    SpectralObjective,
    band_sizes,
    compute_energies,
    compute_moments,
    rest_frames,
)
from unets import lively_unet, small_draft, small_sizes


def stems(batch: int = 2, length: int = 8000) -> torch.Tensor:
    return torch.randn(batch, 4, 2, length, generator=torch.Generator().manual_seed(0))


def report(network, waves: torch.Tensor, active=None, merge=None, **config: float):
    active = torch.ones(waves.shape[:2]) if active is None else active
    objective = SpectralObjective(SpectralLossConfig(**config))
    return objective(network, [waves.sum(1)], [waves], [active], merge)


@pytest.mark.parametrize("draft", [None, small_draft()])
def test_errors_are_those_of_the_stems_that_the_network_gives(draft: ModelConfig | None) -> None:
    network, waves = lively_unet(draft=draft), stems()
    spectra = network.spectrum(waves)
    with torch.no_grad():
        mixture, moments = compute_moments(spectra, network.config)
        first = network.draft and network.draft_spectra(network.draft([waves.sum(1)])[0].stems, mixture)
        energies = compute_energies(network, mixture, first, spectra, moments)
        estimates = network.refined(mixture, first).spectra
    error = (estimates - spectra).square().sum((2, 3, 4, 5))
    torch.testing.assert_close(energies.error.sum((2, 3)), error, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(energies.stems.sum((2, 3)), spectra.square().sum((2, 3, 4, 5)), rtol=1e-4, atol=1e-2)


def test_bands_are_cut_where_they_should_be() -> None:
    sizes = small_sizes()  # bins of 62.5 Hz up to 1 kHz, rows of three above
    assert sum(band_sizes(sizes)) == sizes.rows
    assert band_sizes(sizes)[:2] == [4, 12]


def energy(error: float, stem: float, frames: int = 8) -> Energies:
    ones = torch.ones(1, 2, 2, frames)
    return Energies(error * ones, stem * ones, torch.full((1, 2, frames), 2.0))


def test_the_score_is_the_snr_in_db_up_to_the_threshold() -> None:
    objective = SpectralObjective(SpectralLossConfig(bands=0.0, silence=0.0, rests=0.0))
    active = torch.ones(1, 2)
    assert objective.score(energy(0.1, 1.0), active, 4, None).total == pytest.approx(-2 * 9.957, abs=0.01)
    assert objective.score(energy(0.0, 1.0), active, 4, None).total == pytest.approx(-60, abs=0.01)


def test_silent_stems_cost_what_leaks_into_them() -> None:
    objective = SpectralObjective(SpectralLossConfig(bands=0.0, silence=1.0, rests=0.0))
    loud = objective.score(energy(0.2, 0.0), torch.zeros(1, 2), 4, None)
    faint = objective.score(energy(2e-4, 0.0), torch.zeros(1, 2), 4, None)
    assert loud.total == pytest.approx(20.04, abs=0.1)
    assert faint.total == pytest.approx(0.41, abs=0.1)


def test_rests_within_a_song_count_by_themselves() -> None:
    objective = SpectralObjective(SpectralLossConfig(bands=0.0, silence=0.0, rests=1.0))
    energies = energy(0.2, 1.0)
    energies.stems[:, 0, :, 4:] = 0.0
    assert objective.score(energies, torch.ones(1, 2), 4, None).parts["stage0/rests"] == pytest.approx(20.04, abs=0.1)
    assert objective.score(energy(0.2, 1.0), torch.ones(1, 2), 4, None).parts["stage0/rests"] == 0


def test_bands_and_stems_that_nobody_hears_do_not_count() -> None:
    objective = SpectralObjective(SpectralLossConfig(bands=1.0, silence=0.0, rests=0.0))
    energies = energy(0.1, 1.0)
    energies.stems[:, :, 1] = 1e-4
    energies.error[:, :, 1] = 1.0
    assert objective.score(energies, torch.ones(1, 2), 4, None).parts["stage0/bands"] == pytest.approx(
        -2 * 9.59, abs=0.1
    )


@pytest.mark.parametrize("draft", [None, small_draft()])
def test_stems_known_as_a_sum_are_scored_as_one(draft: ModelConfig | None) -> None:
    network, waves = lively_unet(draft=draft), stems(1)
    merge = torch.eye(4)[None].clone()
    merge[0, 2, 3], merge[0, 3, 3] = 1.0, 0.0
    together = waves.clone()
    together[:, 2] += together[:, 3]
    together[:, 3] = 0
    spectra = network.spectrum(together)
    mixture, moments = compute_moments(spectra, network.config)
    first = None if draft is None else spectra.flip(1)
    with torch.no_grad():
        energies = compute_energies(network, mixture, first, spectra, moments, merge)
        estimates = network.refined(mixture, first).spectra
    error = (estimates[:, 2] + estimates[:, 3] - spectra[:, 2]).square().sum()
    torch.testing.assert_close(energies.error[:, 2].sum(), error, rtol=1e-3, atol=1e-2)
    active = torch.tensor([[1.0, 1, 1, 0]])
    assert report(network, together, active, merge).total.isfinite()


def test_dropped_drafts_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    network, waves, seen = lively_unet(draft=small_draft()), stems(8), []
    refinement = network.refinement

    def watched(mixture, draft):
        seen.append(draft)
        return refinement(mixture, draft)

    monkeypatch.setattr(network, "refinement", watched)
    torch.manual_seed(0)
    report(network, waves, draft_dropout=0.5)
    silent = seen[0].abs().amax((1, 2, 3, 4, 5)) == 0
    assert 0 < silent.sum() < 8


def test_a_step_downhill_lowers_the_loss() -> None:
    torch.manual_seed(0)
    network, waves = lively_unet().train(), stems()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        total = report(network, waves).total
        total.backward()
        optimiser.step()
        losses.append(float(total))
    assert losses[-1] < losses[0] - 1


def test_silence_everywhere_is_finite() -> None:
    network = lively_unet().train()
    result = report(network, torch.zeros(1, 4, 2, 4000), torch.zeros(1, 4))
    result.total.backward()
    assert result.total.isfinite()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in network.parameters())


def test_half_a_second_has_the_frames_it_has() -> None:
    assert rest_frames(small_sizes()) == 125
