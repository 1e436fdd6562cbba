import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from hyperstem.dsp.residual import share_by_frequency
from hyperstem.training.consistency import consistent


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 32_000])
@pytest.mark.parametrize("time", [1, 255, 256, 5000])
@pytest.mark.parametrize("channels", [1, 2])
def test_training_shares_as_separation_does(rate_hz, time, channels):
    generator = torch.Generator().manual_seed(time)
    stems = torch.randn(2, 3, channels, time, generator=generator)
    mixture = torch.randn(2, channels, time, generator=generator)
    expected = share_by_frequency(mixture.numpy(), stems.numpy(), rate_hz)
    given = consistent(stems, mixture, rate_hz)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(given.sum(1), mixture, rtol=0, atol=1e-5)
    one = consistent(stems[:, :, 0], mixture[:, 0], rate_hz)
    np.testing.assert_allclose(one, expected[:, :, 0], rtol=0, atol=1e-5)


def test_it_is_in_full_precision_where_the_network_is_not():
    stems, mixture = torch.randn(1, 2, 900).bfloat16(), torch.randn(1, 900)
    with torch.autocast("cpu", torch.bfloat16):
        given = consistent(stems, mixture, 8000)
    assert given.dtype == torch.float32
    torch.testing.assert_close(given.sum(1), mixture, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 2, 41), (2, 2, 16)])
def test_gradients(shape):
    torch.manual_seed(0)
    stems = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    mixture = torch.randn(shape[0], *shape[2:], dtype=torch.float64)
    assert gradcheck(lambda stems: consistent(stems, mixture, 250), (stems,))


def test_silent_stems_have_finite_gradients():
    stems = torch.zeros(1, 2, 600, requires_grad=True)
    consistent(stems, torch.randn(1, 600), 8000).square().sum().backward()
    assert stems.grad is not None
    assert torch.isfinite(stems.grad).all()


def test_all_but_silent_stems_have_no_steep_gradients():
    torch.manual_seed(0)
    stems = (1e-4 * torch.randn(1, 2, 4000)).requires_grad_()
    mixture, weights = torch.randn(1, 4000), torch.randn(1, 2, 4000)
    (consistent(stems, mixture, 8000) * weights).sum().backward()
    assert stems.grad is not None
    assert stems.grad.abs().max() < 300
