import copy
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import networks
from hyperstem.config import TrainConfig
from hyperstem.errors import ConfigError
from hyperstem.training.muon import UPDATE_RMS, hidden_matrices, orthogonalised
from hyperstem.training.optim import (
    Ranger,
    build_optimizer,
    clip_gradients,
    freeze,
    gradient_norm,
    load_named_state,
    named_state,
    parameter_groups,
    rate_factor,
    running_average,
    set_rate,
)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.PReLU(), nn.GroupNorm(2, 8), nn.Linear(8, 1))


def train_on_line(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int, start: int = 0) -> float:
    """Fits the sum of three numbers; gives the last loss."""
    loss = torch.tensor(0.0)
    for step in range(start, start + steps):
        x = torch.randn(32, 3, generator=torch.Generator().manual_seed(step))
        loss = (network(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_ranger_is_radam_with_lookahead():
    fast, reference = small_network(), small_network()
    ranger = Ranger(fast.parameters(), lr=1e-2, weight_decay=1e-3, lookahead_steps=3, lookahead_share=0.5)
    radam = torch.optim.RAdam(reference.parameters(), lr=1e-2, weight_decay=1e-3, decoupled_weight_decay=True)
    slow = [weight.detach().clone() for weight in reference.parameters()]
    for step in range(12):
        train_on_line(fast, ranger, 1, step)
        train_on_line(reference, radam, 1, step)
        if step % 3 == 2:
            pairs = zip(slow, reference.parameters(), strict=True)
            slow = [old + 0.5 * (weight.detach() - old) for old, weight in pairs]
            with torch.no_grad():
                for weight, value in zip(reference.parameters(), slow, strict=True):
                    weight.copy_(value)
        for weight, expected in zip(fast.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(weight, expected)


@pytest.mark.parametrize("kind", ["ranger", "adamw", "muon"])
def test_optimisers_learn_and_resume_to_the_bit(kind):
    config = TrainConfig(optimizer=kind, learning_rate=2e-2)
    network = nn.Sequential(small_network()[:3], nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 1))
    if kind == "muon":
        assert hidden_matrices(network) == {network[2].weight}
    optimizer = build_optimizer(network, config)
    first = train_on_line(network, optimizer, 1)
    train_on_line(network, optimizer, 19, 1)
    copied = copy.deepcopy(network)
    fresh = build_optimizer(copied, TrainConfig(optimizer=kind, learning_rate=2e-2, rate_factors={"2": 1.0}))
    load_named_state(fresh, copied, copy.deepcopy(named_state(optimizer, network)))
    last = train_on_line(network, optimizer, 100, 20)
    assert train_on_line(copied, fresh, 100, 20) == last < 0.2 * first


@pytest.mark.parametrize("parameters", ["generated", "independent", "shared"])
def test_adamw_spares_norms_biases_and_slopes_from_decay(parameters):
    network = networks.small_network(parameters=parameters, residual_bias=True)
    names = {weight: name for name, weight in network.named_parameters()}
    groups = parameter_groups(network, TrainConfig(optimizer="adamw"))
    decayed = {names[weight] for group in groups if group["weight_decay"] for weight in group["params"]}
    spared = set(names.values()) - decayed
    kinds = ("encoder.filters", "encoder.join", "projection.weight", "decoder.", ".kernel.")
    assert all(any(kind in name for name in decayed) for kind in kinds)
    assert not [name for name in decayed if re.search(r"_norm\.|\.bias\b|_slope", name)]
    assert all(re.search(r"_norm\.|\.bias\b|_slope|spectrogram\.(scale|shift)", name) for name in spared)


def test_muon_moves_matrices_of_hidden_layers_in_all_directions_alike():
    network = nn.Sequential(nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24), nn.Conv2d(24, 4, 1))
    config = TrainConfig(optimizer="muon", learning_rate=1e-2, weight_decay=0.0)
    assert hidden_matrices(network) == {network[0].weight}
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimizer = build_optimizer(network, config)
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)
    network[0].weight.grad *= torch.linspace(1, 100, 24)[:, None, None, None]  # some rows are far steeper
    kept = network[0].weight.grad
    optimizer.step()
    assert network[0].weight.grad is kept
    change = (network[0].weight.detach() - before["0.weight"]).flatten(1)
    assert change.square().mean().sqrt().item() == pytest.approx(1e-2 * UPDATE_RMS, rel=0.2)
    values = torch.linalg.svdvals(change)
    assert values.max() < 2 * values.min()
    torch.testing.assert_close(
        (network[2].weight - before["2.weight"]).abs(), torch.full_like(before["2.weight"], 1e-2)
    )


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 30)])
def test_orthogonalised_matrices_keep_their_singular_vectors(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalised(matrix)
    in_place = u.T @ found @ v.T  # diagonal, if the vectors are the same
    assert (in_place - in_place.diagonal().diag()).abs().max() < 1e-3
    values = in_place.diagonal()
    assert values.max() < 1.3
    assert values[: min(shape) - 5].min() > 0.6


def test_ranger_decays_everything():
    network = small_network()
    everything = parameter_groups(network, TrainConfig(optimizer="ranger"))
    assert [group["weight_decay"] for group in everything] == [5e-4]


def test_the_longest_prefix_decides_the_rate():
    network = nn.ModuleDict({"a": small_network(), "b": nn.Linear(2, 2)})
    config = TrainConfig(learning_rate=1.0, rate_factors={"a": 0.1, "a.3": 0.5})
    rates = {weight: group["base_rate"] for group in parameter_groups(network, config) for weight in group["params"]}
    assert rates[network["a"][0].weight] == pytest.approx(0.1)
    assert rates[network["a"][3].weight] == pytest.approx(0.5)
    assert rates[network["b"].weight] == 1.0
    optimizer = build_optimizer(network, config)
    set_rate(optimizer, 0.5)
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([0.05, 0.25, 0.5])


def test_freezing():
    network = nn.ModuleDict({"stages": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])})
    assert freeze(network, ("stages.0",)) == ["stages.0.weight", "stages.0.bias"]
    assert sum(len(group["params"]) for group in parameter_groups(network, TrainConfig())) == 2
    for prefix in ("stages.7", "stage", "stages.0.weigh"):
        with pytest.raises(ConfigError, match=f"train.freeze names '{prefix}'"):
            freeze(network, (prefix,))
    freeze(network, ("stages",))
    with pytest.raises(ConfigError, match="no parameter to train"):
        parameter_groups(network, TrainConfig())
    with pytest.raises(ConfigError, match="rate_factors names 'x'"):
        parameter_groups(network, TrainConfig(rate_factors={"x": 2.0}))


@given(st.sampled_from(["sgdr", "cosine", "constant"]), st.integers(0, 400), st.integers(0, 50), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_factors_stay_between_zero_and_one(schedule, step, warmup, final):
    config = TrainConfig(schedule=schedule, warmup_steps=warmup, final_factor=final, period=60, schedule_steps=100)
    assert 0 <= rate_factor(config, step) <= 1
    if step < warmup:
        assert rate_factor(config, step) == pytest.approx((step + 1) / warmup)


def test_schedules():
    sgdr = TrainConfig(schedule="sgdr", period=100, restart_factor=0.85)
    assert [rate_factor(sgdr, step) for step in (0, 50, 100, 150, 200)] == pytest.approx([1, 0.5, 0.85, 0.425, 0.7225])
    assert rate_factor(sgdr, 99) < 1e-3
    cosine = TrainConfig(schedule="cosine", warmup_steps=10, schedule_steps=110, final_factor=0.1)
    factors = [rate_factor(cosine, step) for step in (0, 9, 10, 60, 110, 999)]
    assert factors == pytest.approx([0.1, 1, 1, 0.55, 0.1, 0.1])
    assert rate_factor(TrainConfig(schedule="constant"), 10**6) == 1


def test_average_follows_the_weights():
    network = nn.Linear(2, 1, bias=False)
    average = running_average(network, 0.9)
    means = None
    for step in range(60):
        with torch.no_grad():
            network.weight.fill_(float(step))
        average.update_parameters(network)
        means = float(step) if means is None else means + (1 - min(0.9, (1 + step) / (10 + step))) * (step - means)
        assert average.module.weight[0, 0].item() == pytest.approx(means, rel=1e-5)
    assert 45 < means < 59
    assert network.weight[0, 0].item() == 59


def test_clipping():
    network = nn.Linear(3, 1)
    weights = list(network.parameters())
    for weight in weights:
        weight.grad = torch.full_like(weight, 10.0)
    norm = gradient_norm(weights)
    assert norm.item() == pytest.approx(20.0)
    clip_gradients(weights, norm, 0)
    assert gradient_norm(weights).item() == pytest.approx(20.0)
    clip_gradients(weights, norm, 5.0)
    assert gradient_norm(weights).item() == pytest.approx(5.0, rel=1e-4)
