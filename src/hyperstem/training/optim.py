"""Optimisers (Ranger, AdamW), learning-rate schedules and the running average of the weights."""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hyperstem.config import TrainConfig
from hyperstem.errors import ConfigError
from hyperstem.network.generator import stem_rows

_SPARED = {"bias", "scale_shift"}
"""Parts of the names of parameters that are, or generate, biases and the scales and shifts of norms."""


class Ranger(torch.optim.RAdam):
    """RAdam with lookahead: every few steps the weights fall back part of the way to slowly moving ones.

    The slow weights live in the optimiser's state, so `state_dict` carries them.

    Source: Liu et al., arXiv 1908.03265 (RAdam); Zhang et al., arXiv 1907.08610, algorithm 1 (lookahead).

    Args:
        parameters: parameters or parameter groups.
        lookahead_steps: fast steps between two moves of the slow weights.
        lookahead_share: share of the way that the slow weights move towards the fast ones, 0 to 1.
        options: of `torch.optim.RAdam`; the weight decay is decoupled.
    """

    def __init__(
        self, parameters: Any, *, lookahead_steps: int = 6, lookahead_share: float = 0.5, **options: Any
    ) -> None:
        super().__init__(parameters, decoupled_weight_decay=True, **options)
        self.lookahead_steps = lookahead_steps
        self.lookahead_share = lookahead_share

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One fast step, and the slow one where it is due."""
        moving = [weight for group in self.param_groups for weight in group["params"] if weight.grad is not None]
        starts = {weight: weight.detach().clone() for weight in moving if "slow" not in self.state[weight]}
        loss = super().step(closure)
        for weight in moving:
            state = self.state[weight]
            slow = state.setdefault("slow", starts.get(weight))
            if int(state["step"]) % self.lookahead_steps == 0:
                slow.lerp_(weight, self.lookahead_share)
                weight.copy_(slow)
        return loss


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimiser over the network's trainable parameters.

    Each group carries ``base_rate``, its learning rate before the schedule.

    Raises:
        ConfigError: nothing is left to train, or a prefix in ``rate_factors`` names no parameter.
    """
    groups = parameter_groups(network, config)
    betas = (config.betas[0], config.betas[1])
    optimizer: torch.optim.Optimizer
    if config.optimizer == "ranger":
        optimizer = Ranger(
            groups,
            lr=config.learning_rate,
            betas=betas,
            eps=config.eps,
            lookahead_steps=config.lookahead_steps,
            lookahead_share=config.lookahead_share,
        )
    else:
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.eps, fused=True)
    _hold_rows(optimizer)
    return optimizer


def parameter_groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Trainable parameters grouped by learning rate and weight decay, in the network's order.

    Ranger decays every parameter, as the paper does; AdamW leaves out norms, biases, PReLU slopes and other vectors,
    and what generates norms and biases.
    """
    for prefix in config.rate_factors:
        if not any(matches(name, prefix) for name, _ in network.named_parameters()):
            raise ConfigError(f"train.rate_factors names {prefix!r}, but no parameter of the network begins so")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight, decays in _decaying(network):
        factor = max(
            ((len(prefix), factor) for prefix, factor in config.rate_factors.items() if matches(name, prefix)),
            default=(0, 1.0),
        )[1]
        decay = config.weight_decay if decays or config.optimizer == "ranger" else 0.0
        groups.setdefault((factor * config.learning_rate, decay), []).append(weight)
    if not groups:
        raise ConfigError("train.freeze leaves no parameter to train")
    return [
        {"params": weights, "lr": rate, "base_rate": rate, "weight_decay": decay}
        for (rate, decay), weights in groups.items()
    ]


def _decaying(network: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """Each trainable parameter once: its name, itself, and whether it is a matrix or kernel that may decay."""
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            yield name, weight, weight.ndim >= 2 and not _SPARED & set(name.split("."))


def matches(name: str, prefix: str) -> bool:
    """Whether a parameter's dotted name lies at or under `prefix`."""
    return name == prefix or name.startswith(prefix.removesuffix(".") + ".")


def freeze(network: nn.Module, prefixes: tuple[str, ...]) -> list[str]:
    """Stops the training of every parameter under one of `prefixes`, or of rows of one.

    Args:
        network: with ``config.stems`` where rows are named.
        prefixes: beginnings of parameters' names, or ``name[stem,...]``: some stems' rows of a parameter that has one
            for each stem, such as ``stages.0.embedding[drums,bass]``, kept by optimisers of `build_optimizer`.

    Returns:
        The names of the stopped parameters and rows.

    Raises:
        ConfigError: a prefix names no parameter, or rows that it does not have.
    """
    frozen = []
    for prefix in prefixes:
        if rows := re.fullmatch(r"(.+)\[(.+)\]", prefix):
            _freeze_rows(network, rows.group(1), [stem.strip() for stem in rows.group(2).split(",")])
            frozen.append(prefix)
            continue
        found = [(name, weight) for name, weight in network.named_parameters() if matches(name, prefix)]
        if not found:
            raise ConfigError(f"train.freeze names {prefix!r}, but no parameter of the network begins so")
        for name, weight in found:
            weight.requires_grad_(False)
            frozen.append(name)
    return frozen


def _freeze_rows(network: nn.Module, name: str, stems: list[str]) -> None:
    """Marks the rows of a parameter that belong to `stems`."""
    known = list(getattr(getattr(network, "config", None), "stems", ()))
    possible = sorted(stem_rows(network, len(known)))
    if name not in possible:
        listed = ", ".join(possible) or "none"
        raise ConfigError(f"train.freeze names rows of {name!r}; parameters with a row for each stem are: {listed}")
    for stem in stems:
        if stem not in known:
            raise ConfigError(f"train.freeze names stem {stem!r}; the model's stems are {', '.join(known)}")
    weight: Any = network.get_parameter(name)
    rows = [known.index(stem) for stem in stems]
    weight.frozen_rows = sorted({*getattr(weight, "frozen_rows", ()), *rows})
    weight.register_hook(lambda gradient: gradient.index_fill(0, torch.tensor(rows, device=gradient.device), 0.0))


def _hold_rows(optimizer: torch.optim.Optimizer) -> None:
    """Lets an optimiser leave frozen rows as they are: weight decay and lookahead move rows without a gradient too."""
    weights = [
        weight for group in optimizer.param_groups for weight in group["params"] if hasattr(weight, "frozen_rows")
    ]
    held: list[Tensor] = []

    def remember(*_: Any) -> None:
        held[:] = [weight.detach()[weight.frozen_rows].clone() for weight in weights]

    @torch.no_grad()
    def put_back(*_: Any) -> None:
        for weight, rows in zip(weights, held, strict=True):
            weight[weight.frozen_rows] = rows

    if weights:
        optimizer.register_step_pre_hook(remember)
        optimizer.register_step_post_hook(put_back)


def rate_factor(config: TrainConfig, step: int) -> float:
    """The schedule: what the learning rate is multiplied by at a step.

    A linear warm-up comes first in every schedule. ``sgdr`` falls along a half cosine in each period and starts the
    next one at ``restart_factor`` times the last start; ``cosine`` falls once, over ``schedule_steps`` (or ``steps``).

    Source: Loshchilov, Hutter, arXiv 1608.03983, equation 5 (SGDR).

    Args:
        step: steps taken before this one, from 0.

    Returns:
        A factor from 0 to 1. It depends on nothing but the arguments, so a resumed run goes on exactly.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    after = step - config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        horizon = (config.schedule_steps or config.steps) - config.warmup_steps
        return _half_cosine(min(1.0, after / max(1, horizon)), config.final_factor)
    cycle, within = divmod(after, config.period)
    return config.restart_factor**cycle * _half_cosine(within / config.period, config.final_factor)


def _half_cosine(progress: float, final: float) -> float:
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group's learning rate to its own base rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * factor


def named_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, dict[str, Any]]:
    """The optimiser's state by parameter name, so that it outlives other groups and other rates."""
    state = optimizer.state
    return {name: dict(state[weight]) for name, weight in network.named_parameters() if weight in state}


def load_named_state(optimizer: torch.optim.Optimizer, network: nn.Module, state: dict[str, dict[str, Any]]) -> None:
    """Puts back what `named_state` gave; rates and other settings stay the optimiser's own."""
    names = {weight: name for name, weight in network.named_parameters()}
    groups = optimizer.state_dict()["param_groups"]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    numbered = {i: state[names[weight]] for i, weight in enumerate(weights) if names[weight] in state}
    optimizer.load_state_dict({"state": numbered, "param_groups": groups})


def running_average(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of the network whose weights follow an exponential average of the trained ones.

    The decay grows from 1 / 10 at the start, so that early weights are soon forgotten: min(decay, (1 + n) / (10 + n)).
    ``.update_parameters(network)`` moves it; ``.module`` is the averaged network.
    """

    @torch.no_grad()
    def follow(averages: Any, weights: Any, updates: Any) -> None:
        kept = min(decay, (1 + int(updates)) / (10 + int(updates)))
        torch._foreach_lerp_(averages, weights, 1 - kept)

    return AveragedModel(network, multi_avg_fn=follow)


def gradient_norm(weights: list[nn.Parameter]) -> Tensor:
    """The norm of all gradients as one vector; a scalar tensor."""
    return torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])


def clip_gradients(weights: list[nn.Parameter], norm: Tensor, limit: float) -> None:
    """Scales all gradients down together so that their `norm` is at most `limit` (0: as they are)."""
    if limit:
        torch.nn.utils.clip_grads_with_norm_(weights, limit, norm)
