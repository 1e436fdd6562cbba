"""Weight sources and the layers that apply them."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn import functional as F

from hyperstem.network import build
from hyperstem.network.fast import Depthwise, PReLU, UpsamplingConv, depthwise, prelu
from hyperstem.network.generator import Generated, weight_source
from hyperstem.network.layers import Norm, StemConv, StemNorm, group_norm, pointwise
from networks import TINY, noise_pyramid, small_network


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_weights_are_an_affine_map_of_an_affine_map():
    torch.manual_seed(0)
    source = Generated((6, 5), embedding_dim=4, bottleneck=3, init=lambda tensor: tensor.uniform_(-1, 1), spread=0.5)
    embedding = draw(2, 4)
    code = embedding @ source.bottleneck.weight.T + source.bottleneck.bias
    expected = (code @ source.weights.weight.T + source.weights.bias).reshape(2, 6, 5)
    torch.testing.assert_close(source(embedding), expected)


def test_equal_embeddings_give_equal_extractors():
    network = small_network()
    stage = network.stages[1]
    with torch.no_grad():
        stage.embedding[2] = stage.embedding[0]
    latent, previous = draw(2, 128, 30), draw(2, 1, 64, 30, seed=1).expand(-1, 4, -1, -1)
    masks = stage.masking(latent, previous, stage.embedding)
    torch.testing.assert_close(masks[:, 2], masks[:, 0], rtol=1e-4, atol=1e-6)
    assert (masks[:, 1] - masks[:, 0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("parameters", "plain", "head"), [("generated", 4, 4), ("independent", 4, 4), ("shared", 1, 4)]
)
def test_how_many_stems_a_source_has_weights_for(parameters, plain, head):
    config = dataclasses.replace(TINY, parameters=parameters)
    embedding = draw(4, config.embedding_dim)
    for is_head, stems in ((False, plain), (True, head)):
        source = weight_source(config, (3, 2), lambda tensor: tensor.normal_(), head=is_head)
        assert source(embedding).shape == (stems, 3, 2)


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(1, 20), st.booleans())
def test_grouped_pointwise_is_separate_convolutions(batch, stems, inside, outside, frames, bias):
    x, kernel = draw(batch, stems, inside, frames), draw(stems, outside, inside, seed=1)
    shift = draw(stems, outside, seed=2) if bias else None
    together = pointwise(x, kernel, shift)
    common = pointwise(x[:, :1], kernel, shift)
    for i in range(stems):
        own = None if shift is None else shift[i]
        torch.testing.assert_close(
            together[:, i], F.conv1d(x[:, i], kernel[i].unsqueeze(-1), own), rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(common[:, i], F.conv1d(x[:, 0], kernel[i].unsqueeze(-1), own), rtol=1e-4, atol=1e-5)


@settings(max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([1, 3, 5]),
    st.integers(1, 40),
    st.integers(1, 16),
    st.booleans(),
)
def test_depthwise_is_separate_dilated_convolutions(batch, stems, taps, frames, dilation, shared):
    x, kernel = draw(batch, stems, 3, frames), draw(1 if shared else stems, 3, taps, seed=1)
    together = depthwise(x, kernel, dilation)
    for i in range(stems):
        expected = F.conv1d(
            x[:, i],
            kernel[0 if shared else i].unsqueeze(1),
            padding=dilation * (taps // 2),
            dilation=dilation,
            groups=3,
        )
        torch.testing.assert_close(together[:, i], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 9])
@pytest.mark.parametrize("stems", [1, 3])
def test_depthwise_gradient(frames, stems):
    x = draw(2, 3, 2, frames, dtype=torch.float64).requires_grad_()
    kernel = draw(stems, 2, 3, seed=1, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x, kernel: Depthwise.apply(x, kernel, 2), (x, kernel))


def test_prelu_and_its_gradient():
    x = draw(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    slope = torch.full((1,), 0.2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(PReLU.apply, (x, slope))
    for dtype in (torch.float32, torch.bfloat16):
        torch.testing.assert_close(prelu(x.to(dtype), slope.to(dtype)), F.prelu(x.to(dtype), slope.to(dtype)))


@pytest.mark.parametrize("slope", [0.25, 0.0, -0.3, 1.5])
def test_prelu_with_any_slope(slope):
    x, weight = draw(3, 50).requires_grad_(), torch.full((1,), slope, requires_grad=True)
    theirs_x, theirs_weight = x.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()
    ours, theirs = prelu(x, weight), F.prelu(theirs_x, theirs_weight)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(x.grad, theirs_x.grad)
    torch.testing.assert_close(weight.grad, theirs_weight.grad)


def test_group_norm_statistics_are_each_stems_own():
    x = draw(2, 3, 8, 50) * torch.tensor([1.0, 10, 100])[:, None, None] + 5
    normed = group_norm(x, Norm(torch.ones(3, 8), torch.zeros(3, 8)), groups=2).unflatten(2, (2, 4))
    assert normed.mean((3, 4)).abs().max() < 1e-4
    assert (normed.std((3, 4), correction=0) - 1).abs().max() < 1e-4


@pytest.mark.parametrize("bias", [False, True])
def test_norms_and_biases_of_all_stems_start_neutral(bias):
    torch.manual_seed(0)
    network = build(dataclasses.replace(TINY, residual_bias=bias))
    for stage in network.stages:
        for module in stage.masking.modules():
            if isinstance(module, StemNorm):
                scale, shift = module.weights(stage.embedding)
                assert torch.equal(scale, torch.ones_like(scale)) and torch.equal(shift, torch.zeros_like(shift))
            elif isinstance(module, StemConv):
                kernel, shift = module.weights(stage.embedding)
                assert kernel.std(0).max() > 0, "the stems' kernels do not differ"
                assert shift is None or not shift.any()


def test_generated_norms_leave_their_neutral_start():
    torch.manual_seed(0)
    network = build(TINY).train()
    sum(output.stems.square().mean() for output in network(noise_pyramid(TINY, 400))).backward()
    norm = network.stages[0].masking.stream_norm.scale_shift
    assert norm.weights.weight.grad.any() and norm.weights.bias.grad.any()


@pytest.mark.parametrize("parameters", ["generated", "independent", "shared"])
def test_every_weight_gets_a_gradient(parameters):
    network = small_network(config=TINY, parameters=parameters, residual_bias=True)
    torch.manual_seed(1)
    outputs = network.train()([torch.randn(2, 400), torch.randn(2, 800)])
    sum(output.stems.square().mean() + output.mixture.square().mean() for output in outputs).backward()
    without = [name for name, tensor in network.named_parameters() if tensor.grad is None or not tensor.grad.any()]
    # The last block's addition to the residual stream goes nowhere.
    last = TINY.blocks * TINY.stacks - 1
    assert all(f"blocks.{last}.residual" in name for name in without), without


@pytest.mark.parametrize(("kernel", "stride"), [(8, 4), (7, 3), (3, 3), (2, 3)])
def test_the_upsampling_convolution_is_torchs(kernel, stride):
    ours = UpsamplingConv(5, 2, kernel, stride=stride, bias=False).double()
    torchs = torch.nn.ConvTranspose1d(5, 2, kernel, stride=stride, bias=False).double()
    torchs.load_state_dict(ours.state_dict())
    x = draw(3, 5, 9, dtype=torch.float64).requires_grad_()
    results = [layer(x) for layer in (ours, torchs)]
    torch.testing.assert_close(*results)
    grads = [
        torch.autograd.grad(result.sin().sum(), (x, layer.weight))
        for result, layer in zip(results, (ours, torchs), strict=True)
    ]
    torch.testing.assert_close(*grads)
