import torch

from hyperstem.network import MetaTasNet
from hyperstem.training.draft_eq import draft_through_eq, eq_gains
from unets import small_draft


def noise(batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 2, 2000, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_without_a_limit_the_draft_is_the_networks() -> None:
    network, wave = MetaTasNet(small_draft()).eval(), noise()
    assert torch.equal(draft_through_eq(network, wave, 0.0).stems, network([wave])[-1].stems)


@torch.no_grad()
def test_the_eq_is_undone_after_the_network_has_heard_it() -> None:
    heard = []

    class Network(MetaTasNet):
        def forward(self, pyramid):
            heard.append(pyramid[0])
            (output,) = super().forward(pyramid)
            parts = torch.tensor([0.4, 0.3, 0.2, 0.1])[:, None, None]
            return [output._replace(stems=parts * pyramid[0][:, None])]

    wave = noise()
    stems = draft_through_eq(Network(small_draft()).eval(), wave, 12.0).stems
    torch.testing.assert_close(stems.sum(1), wave, rtol=1e-3, atol=1e-3)
    assert (heard[0] - wave).abs().max() > 0.1
    torch.testing.assert_close(heard[0].square().mean((1, 2)), torch.ones(3), rtol=1e-3, atol=1e-3)


def test_gains_stay_within_the_limit_and_differ_between_mixtures() -> None:
    torch.manual_seed(0)
    gains_db = 20 * eq_gains(50, 4000, 8000, 12.0).log10()
    assert gains_db.shape == (50, 2001)
    assert 9 < gains_db.abs().max() <= 12
    assert (gains_db[:-1] - gains_db[1:]).abs().amax(1).min() > 0.1
    assert gains_db.diff(dim=1).abs().max() < 2.5  # neighbouring bins, 2 Hz apart at 60 Hz
