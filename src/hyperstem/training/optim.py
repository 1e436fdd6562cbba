"""Optimisers (Ranger, AdamW, Muon), learning-rate schedules and the running average of the weights."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hyperstem.config import TrainConfig
from hyperstem.errors import ConfigError
from hyperstem.network.generator import stem_rows
from hyperstem.training.muon import Muon, hidden_matrices

_NO_DECAY = {"bias", "scale_shift"}
"""Name parts of parameters that are, or generate, biases or scales and shifts of norms: AdamW does not decay them."""


class Ranger(torch.optim.RAdam):
    """RAdam with lookahead: every few steps the weights move back part of the way to slow weights.

    The slow weights are part of the optimiser's state and so of its `state_dict`.

    Source: Liu et al., arXiv 1908.03265 (RAdam); Zhang et al., arXiv 1907.08610, algorithm 1 (lookahead).

    Args:
        parameters: parameters or parameter groups.
        lookahead_steps: number of fast steps per slow step.
        lookahead_share: step size of the slow weights towards the fast ones, 0 to 1.
        options: options of `torch.optim.RAdam`; the weight decay is decoupled.
    """

    def __init__(
        self, parameters: Any, *, lookahead_steps: int = 6, lookahead_share: float = 0.5, **options: Any
    ) -> None:
        super().__init__(parameters, decoupled_weight_decay=True, **options)
        self.lookahead_steps = lookahead_steps
        self.lookahead_share = lookahead_share

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One fast step, and a slow step if it is due."""
        weights = [weight for group in self.param_groups for weight in group["params"] if weight.grad is not None]
        initial = {weight: weight.detach().clone() for weight in weights if "slow" not in self.state[weight]}
        loss = super().step(closure)
        for weight in weights:
            state = self.state[weight]
            slow = state.setdefault("slow", initial.get(weight))
            if int(state["step"]) % self.lookahead_steps == 0:
                slow.lerp_(weight, self.lookahead_share)
                weight.copy_(slow)
        return loss


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimiser of the network's trainable parameters.

    Each parameter group has ``base_rate``, its learning rate before the schedule.

    Raises:
        ConfigError: all parameters are frozen, or a prefix in ``rate_factors`` matches no parameter.
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
        kind = Muon if config.optimizer == "muon" else torch.optim.AdamW
        optimizer = kind(groups, lr=config.learning_rate, betas=betas, eps=config.eps, fused=True)
    _keep_frozen_rows(optimizer)
    return optimizer


def parameter_groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Trainable parameters grouped by learning rate, weight decay and kind of update, in the network's order.

    Ranger decays all parameters, as in the paper. AdamW and Muon do not decay norms, biases, PReLU slopes and other
    vectors, nor what generates norms and biases.
    """
    for prefix in config.rate_factors:
        if not any(matches(name, prefix) for name, _ in network.named_parameters()):
            raise ConfigError(f"train.rate_factors names {prefix!r}, but no parameter of the network starts with it")
    matrices = hidden_matrices(network) if config.optimizer == "muon" else set()
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            continue
        prefix = max((prefix for prefix in config.rate_factors if matches(name, prefix)), key=len, default=None)
        factor = 1.0 if prefix is None else config.rate_factors[prefix]
        decays = config.optimizer == "ranger" or (weight.ndim >= 2 and not _NO_DECAY & set(name.split(".")))
        decay = config.weight_decay if decays else 0.0
        groups.setdefault((factor * config.learning_rate, decay, weight in matrices), []).append(weight)
    if not groups:
        raise ConfigError("train.freeze leaves no parameter to train")
    return [
        {"params": weights, "lr": rate, "base_rate": rate, "weight_decay": decay, "muon": muon}
        for (rate, decay, muon), weights in groups.items()
    ]


def matches(name: str, prefix: str) -> bool:
    """Whether a parameter's dotted name is `prefix` or starts with it and a dot."""
    return name == prefix or name.startswith(prefix.removesuffix(".") + ".")


def freeze(network: nn.Module, prefixes: tuple[str, ...]) -> list[str]:
    """Freezes parameters, or some of their rows.

    Args:
        network: the network; it needs ``config.stems`` to freeze rows.
        prefixes: prefixes of parameters' names, or ``name[stem,...]``: some stems' rows of a parameter with a row for
            each stem, such as ``stages.0.embedding[drums,bass]``. Optimisers of `build_optimizer` keep these rows.

    Returns:
        The names of the frozen parameters and rows.

    Raises:
        ConfigError: a prefix matches no parameter, or names rows that do not exist.
    """
    frozen = []
    for prefix in prefixes:
        if rows := re.fullmatch(r"(.+)\[(.+)\]", prefix):
            _freeze_rows(network, rows.group(1), [stem.strip() for stem in rows.group(2).split(",")])
            frozen.append(prefix)
            continue
        matching = [(name, weight) for name, weight in network.named_parameters() if matches(name, prefix)]
        if not matching:
            raise ConfigError(f"train.freeze names {prefix!r}, but no parameter of the network starts with it")
        for name, weight in matching:
            weight.requires_grad_(False)
            frozen.append(name)
    return frozen


def _freeze_rows(network: nn.Module, name: str, stems: list[str]) -> None:
    """Zeroes the gradient of the rows of `stems`, and marks them for `_keep_frozen_rows`."""
    model_stems = list(getattr(getattr(network, "config", None), "stems", ()))
    allowed = sorted(stem_rows(network, len(model_stems)))
    if name not in allowed:
        raise ConfigError(
            f"train.freeze names rows of {name!r}; parameters with a row for each stem are: "
            f"{', '.join(allowed) or 'none'}"
        )
    for stem in stems:
        if stem not in model_stems:
            raise ConfigError(f"train.freeze names stem {stem!r}; the model's stems are {', '.join(model_stems)}")
    weight: Any = network.get_parameter(name)
    if not weight.requires_grad:
        return  # all of it is frozen
    rows = [model_stems.index(stem) for stem in stems]
    weight.frozen_rows = sorted({*getattr(weight, "frozen_rows", ()), *rows})
    weight.register_hook(lambda gradient: gradient.index_fill(0, torch.tensor(rows, device=gradient.device), 0.0))


def _keep_frozen_rows(optimizer: torch.optim.Optimizer) -> None:
    """Makes an optimiser restore frozen rows, because weight decay and lookahead move rows without a gradient too."""
    weights = [
        weight for group in optimizer.param_groups for weight in group["params"] if hasattr(weight, "frozen_rows")
    ]
    frozen: list[Tensor] = []

    def remember(*_: Any) -> None:
        frozen[:] = [weight.detach()[weight.frozen_rows].clone() for weight in weights]

    @torch.no_grad()
    def restore(*_: Any) -> None:
        for weight, rows in zip(weights, frozen, strict=True):
            weight[weight.frozen_rows] = rows

    if weights:
        optimizer.register_step_pre_hook(remember)
        optimizer.register_step_post_hook(restore)


def rate_factor(config: TrainConfig, step: int) -> float:
    """The factor on the learning rate at a step.

    Every schedule starts with a linear warm-up. ``sgdr`` follows a half cosine in each period and starts the next one
    at ``restart_factor`` times the last start; ``cosine`` is a single one over ``schedule_steps`` (or ``steps``).

    Source: Loshchilov, Hutter, arXiv 1608.03983, equation 5 (SGDR).

    Args:
        config: settings of the schedule.
        step: number of steps before this one.

    Returns:
        A factor from 0 to 1, which depends on the arguments alone.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    step -= config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        horizon = (config.schedule_steps or config.steps) - config.warmup_steps
        return _half_cosine(min(1.0, step / max(1, horizon)), config.final_factor)
    cycle, within = divmod(step, config.period)
    return config.restart_factor**cycle * _half_cosine(within / config.period, config.final_factor)


def _half_cosine(progress: float, final: float) -> float:
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets the learning rate of every group to its ``base_rate`` times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * factor


def named_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, dict[str, Any]]:
    """The optimiser's state by parameter name, independent of the parameter groups."""
    state = optimizer.state
    return {name: dict(state[weight]) for name, weight in network.named_parameters() if weight in state}


def load_named_state(optimizer: torch.optim.Optimizer, network: nn.Module, state: dict[str, dict[str, Any]]) -> None:
    """Restores what `named_state` returned; the settings of the optimiser stay."""
    names = {weight: name for name, weight in network.named_parameters()}
    groups = optimizer.state_dict()["param_groups"]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    by_position = {i: state[names[weight]] for i, weight in enumerate(weights) if names[weight] in state}
    optimizer.load_state_dict({"state": by_position, "param_groups": groups})


def running_average(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of the network with exponentially averaged weights.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that early weights are soon forgotten.
    ``.update_parameters(network)`` updates the average; ``.module`` is the averaged network.
    """

    @torch.no_grad()
    def update(averages: Any, weights: Any, updates: Any) -> None:
        current_decay = min(decay, (1 + int(updates)) / (10 + int(updates)))
        torch._foreach_lerp_(averages, weights, 1 - current_decay)

    return AveragedModel(network, multi_avg_fn=update)


def gradient_norm(weights: list[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, a scalar tensor."""
    return torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])


def clip_gradients(weights: list[nn.Parameter], norm: Tensor, limit: float) -> None:
    """Scales all gradients so that their `norm` is at most `limit`; 0 leaves them as they are."""
    if limit:
        torch.nn.utils.clip_grads_with_norm_(weights, limit, norm)
