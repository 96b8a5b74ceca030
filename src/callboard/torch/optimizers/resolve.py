"""From what ``compile(optimizer=...)`` is given to an optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from callboard._core.errors import ConfigurationError, UnknownNameError
from callboard.torch.optimizers.optimizer import Optimizer

__all__ = ["NAMES", "resolve_optimizer"]


class _Choice(NamedTuple):
    """An optimizer of PyTorch with Keras's defaults.

    Attributes:
        make: The class.
        defaults: What differs from PyTorch's own defaults, or could one day.
        fused_on: Kinds of devices that it has a fused kernel for.
        capturable: Whether it has to be told that its steps will be captured in a CUDA graph.
    """

    make: Callable[..., torch.optim.Optimizer]
    defaults: Mapping[str, Any]
    fused_on: tuple[str, ...] = ()
    capturable: bool = True


_BETAS = {"betas": (0.9, 0.999), "eps": 1e-7}
_CHOICES = {
    "adadelta": _Choice(torch.optim.Adadelta, {"lr": 1e-3, "rho": 0.95, "eps": 1e-7}),
    "adafactor": _Choice(
        torch.optim.Adafactor,
        {"lr": 1e-3, "beta2_decay": -0.8, "eps": (1e-30, 1e-3), "d": 1.0, "weight_decay": 0.0},
        capturable=False,
    ),
    "adagrad": _Choice(
        torch.optim.Adagrad,
        {"lr": 1e-3, "initial_accumulator_value": 0.1, "eps": 1e-7},
        fused_on=("cpu",),
        capturable=False,
    ),
    "adam": _Choice(torch.optim.Adam, {"lr": 1e-3, **_BETAS}, fused_on=("cpu", "cuda")),
    "adamax": _Choice(torch.optim.Adamax, {"lr": 1e-3, **_BETAS}),
    "adamw": _Choice(
        torch.optim.AdamW,
        {"lr": 1e-3, **_BETAS, "weight_decay": 0.004},
        fused_on=("cpu", "cuda"),
    ),
    # Keras's momentum follows 0.96^t, PyTorch's 0.96^(t * momentum_decay).
    "nadam": _Choice(torch.optim.NAdam, {"lr": 1e-3, **_BETAS, "momentum_decay": 1.0}),
    "rmsprop": _Choice(torch.optim.RMSprop, {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7}),
    "sgd": _Choice(torch.optim.SGD, {"lr": 0.01}, fused_on=("cpu", "cuda"), capturable=False),
}
NAMES = tuple(_CHOICES)


def resolve_optimizer(
    identifier: object, parameters: Iterable[nn.Parameter], *, capturable: bool = False
) -> torch.optim.Optimizer:
    """Return the optimizer that is meant by what was given to ``compile``.

    Args:
        identifier: One of Keras's names in any case ("adam"), with Keras's default rates; an
            optimizer of PyTorch, used as it is; a class of them, with PyTorch's defaults; or a
            function that takes the parameters and returns one.
        parameters: All parameters of the module. Those that need no gradient are left out.
        capturable: For a name: steps will be captured in a CUDA graph or compiled, so the learning
            rate becomes a tensor that is changed in place.

    Raises:
        UnknownNameError: For a name that is not known.
        ConfigurationError: If there is nothing to train, if an optimizer has parameters of another
            module, and for anything else.

    Example:
        >>> optimizer = resolve_optimizer("adam", nn.Linear(2, 1).parameters())
        >>> type(optimizer).__name__, optimizer.param_groups[0]["lr"]
        ('Adam', 0.001)
    """
    own = list(parameters)
    if isinstance(identifier, Optimizer):
        identifier = identifier.wrapped
    if isinstance(identifier, torch.optim.Optimizer):
        return _checked(identifier, own)
    trainable = [parameter for parameter in own if parameter.requires_grad]
    if not trainable:
        raise ConfigurationError(
            "the module has no parameters that can be trained"
            + ("; all of them have requires_grad=False" if own else "")
        )
    if isinstance(identifier, str):
        return _named(identifier, trainable, capturable=capturable)
    if callable(identifier):
        return _checked(_made(identifier, trainable), own)
    raise ConfigurationError(
        "optimizer must be a name, an optimizer of torch.optim, a class of them or a function of "
        f"the parameters; got {identifier!r}"
    )


def _named(name: str, parameters: list[nn.Parameter], *, capturable: bool) -> torch.optim.Optimizer:
    if name.lower() not in _CHOICES:
        raise UnknownNameError("optimizer", name, NAMES)
    choice = _CHOICES[name.lower()]
    options = dict(choice.defaults)
    devices = {parameter.device for parameter in parameters}
    kind = devices.pop().type if len(devices) == 1 else "several"
    if kind in choice.fused_on and _can_be_fused(parameters, kind):
        options["fused"] = True
    if capturable:
        options["lr"] = torch.tensor(options["lr"], device=parameters[0].device)
        if choice.capturable and kind == "cuda":
            options["capturable"] = True
    return choice.make(parameters, **options)


def _can_be_fused(parameters: list[nn.Parameter], kind: str) -> bool:
    if kind == "cpu":
        return all(parameter.dtype is torch.float32 for parameter in parameters)
    return all(parameter.is_floating_point() for parameter in parameters)


def _made(make: Callable[..., Any], parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    name = getattr(make, "__name__", None) or repr(make)
    kind: Any = make
    if inspect.isclass(kind) and not issubclass(kind, torch.optim.Optimizer):
        raise ConfigurationError(f"optimizer={name} is not a class of optimizers of torch.optim")
    try:
        inspect.signature(make).bind(parameters)
    except TypeError as error:
        raise ConfigurationError(
            f"optimizer={name} cannot be called with the parameters alone ({error}); pass "
            f"lambda parameters: {name}(parameters, ...)"
        ) from error
    made = make(parameters)
    if isinstance(made, Optimizer):
        return made.wrapped
    if not isinstance(made, torch.optim.Optimizer):
        raise ConfigurationError(
            f"optimizer={name} must return an optimizer of torch.optim; it returned {made!r}"
        )
    return made


def _checked(optimizer: torch.optim.Optimizer, own: list[nn.Parameter]) -> torch.optim.Optimizer:
    known = {id(parameter) for parameter in own}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    foreign = sum(id(parameter) not in known for parameter in held)
    if foreign:
        raise ConfigurationError(
            f"{foreign} of the {len(held)} parameters of the {type(optimizer).__name__} do not "
            "belong to the module; make the optimizer from this module's parameters(), after the "
            "module got its last layer"
        )
    if not any(parameter.requires_grad for parameter in held):
        raise ConfigurationError(
            f"no parameter of the {type(optimizer).__name__} can be trained; all of them have "
            "requires_grad=False"
        )
    return optimizer
