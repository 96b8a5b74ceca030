"""Several training steps compiled as one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from callboard._core.batches import Batch
from callboard._core.checks import ConfigurationWarning
from callboard._core.logs import Logs
from callboard._core.nested import leaves
from callboard.torch.arrays import widened
from callboard.torch.distributed import is_distributed
from callboard.torch.forward import ForwardPass, Outcome
from callboard.torch.steps import TrainStep
from callboard.torch.update_rules import Rule, State, factors_of, rule_of

if TYPE_CHECKING:
    from callboard.torch.guard import Guard
    from callboard.torch.model import Model

__all__ = ["CompiledStep", "can_be_compiled"]


def can_be_compiled(model: Model) -> bool:
    """Say whether a model's forward pass, backward pass and update can be compiled as one."""
    return (
        model.settings.gradient_accumulation_steps == 1
        and not is_distributed()  # DistributedDataParallel averages gradients by hooks
        and rule_of(model.require_optimizer().wrapped) is not None
    )


class _State(NamedTuple):
    """What an execution takes, and changes in place at its end.

    Attributes:
        weights: The optimizer's weights by name.
        frozen: All other weights by name; they stay as they are.
        buffers: The buffers by name.
        moments: The optimizer's state of each of its weights.
        options: The options of each parameter group, as copies: of the groups themselves all values
            would be watched, and all be compiled anew when a callback changes the learning rate.
        factors: What depends on the numbers of the steps alone, for each of its weights.
        mark: 1 once an update was rejected, so that no later one is applied; None without a guard.
        checks_gradients: Whether an update is rejected for its gradients too.
    """

    weights: State
    frozen: State
    buffers: State
    moments: dict[str, State]
    options: list[dict[str, Any]]
    factors: State
    mark: Tensor | None
    checks_gradients: bool


class CompiledStep:
    """Trains on ``steps_per_execution`` batches in one call of compiled code.

    The first batches are trained on by the eager step: it finds mistakes and makes the optimizer's
    state. So are batches that do not have the shapes of the others, as the last one of an epoch.

    Args:
        model: A model for which ``can_be_compiled``.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._settings = model.settings
        self._optimizer = model.require_optimizer()
        self._eager = TrainStep(model)
        self._objective = _Objective(model.module, self._eager.forward)
        self._rule = rule_of(self._optimizer.wrapped)
        self._trained = _groups_by_name(model.module, self._optimizer.wrapped)
        self._groups = self._trained
        self._shapes: list[tuple[torch.Size, ...]] = []
        self._rates: list[Tensor] = []
        self._named: dict[str, nn.Parameter] = {}
        self._execute: Callable[..., Any] | None = torch.compile(
            self._steps,
            dynamic=False,
            fullgraph=True,
            # On the CPU, what lies between two kernels costs as much as a small kernel in Python.
            options={"cpp_wrapper": model.device.type == "cpu"},
        )

    def is_of(self, module: nn.Module) -> bool:
        """Say whether a module still has the layers and the weights to train it was made for."""
        now = _groups_by_name(module, self._optimizer.wrapped)
        return self._eager.is_of(module) and self._trained == now

    def begin_epoch(self, done: int = 0) -> None:
        """Begin the metrics anew, with the module in training mode."""
        self._eager.begin_epoch(done)
        self._rates = []
        self._named = {f"module.{name}": p for name, p in self._model.module.named_parameters()}

    def logs(self) -> Logs:
        """Return the epoch's metrics so far."""
        return self._eager.logs()

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics, and for which batches and weights the compiled code is."""
        shapes = [tuple(map(tuple, batch)) for batch in self._shapes]
        return {**self._eager.state_dict(), "shapes": shapes, "groups": dict(self._groups)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``: compiled code goes on with the first batch already."""
        self._eager.load_state_dict(state)
        self._shapes = [tuple(map(torch.Size, batch)) for batch in state["shapes"]]
        self._groups = dict(state["groups"])

    def __call__(self, batches: list[Batch]) -> int:
        """Train on the batches; return their samples."""
        shapes = [tuple(leaf.shape for leaf in leaves(batch)) for batch in batches]
        if not self._shapes and len(batches) == self._settings.steps_per_execution:
            return self._begin(batches, shapes)
        if shapes != self._shapes or self._execute is None:
            return self._eager(batches)
        state = self._state(len(batches), self._model.trainable.active_guard)
        try:
            with torch.no_grad():
                losses, predictions = self._execute(state, self._current_rates(), batches)
        except _compile_errors() as error:  # nothing was changed: that is done at the end
            self._give_up(error)
            return self._eager(batches)
        self._optimizer.iterations += len(batches)
        averages = self._model.trainable.active_averages
        if averages is not None:
            averages.update(len(batches))
        return self._eager.scores.add_execution(batches, losses, predictions)

    def _begin(self, batches: list[Batch], shapes: list[tuple[torch.Size, ...]]) -> int:
        """Train on the first batches eagerly, and note which weights get a gradient at all."""
        noted: dict[str, int] = {}

        def note(*_: object) -> None:
            weights = dict(self._objective.named_parameters())
            noted.update({n: i for n, i in self._trained.items() if weights[n].grad is not None})

        hook = self._optimizer.register_step_pre_hook(note)
        try:
            samples = self._eager(batches)
        finally:
            hook.remove()
        if noted:  # else every update was rejected
            self._shapes, self._groups = shapes, noted
        return samples

    def _give_up(self, error: Exception) -> None:
        """Go on without compiling, and say why."""
        self._execute = None
        reason = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
        warnings.warn(
            f"jit_compile=True: the training step cannot be compiled as one ({reason}), so it runs "
            "eagerly; change what stands in the way, or pass jit_compile=False",
            ConfigurationWarning,
            stacklevel=2,
        )

    def _state(self, steps: int, guard: Guard | None) -> _State:
        module, states = self._model.module, self._optimizer.wrapped.state
        detached = {name: p.detach() for name, p in self._named.items()}
        moments = {name: _tensors(states.get(self._named[name], {})) for name in self._groups}
        return _State(
            weights={name: detached[name] for name in self._groups},
            frozen={name: p for name, p in detached.items() if name not in self._groups},
            buffers={f"module.{name}": buffer for name, buffer in module.named_buffers()},
            moments=moments,
            options=[
                {name: value for name, value in group.items() if name not in ("params", "lr")}
                for group in self._optimizer.param_groups
            ],
            factors=self._factors(moments, steps),
            mark=None if guard is None else guard.mark,
            checks_gradients=guard is not None and guard.gradients,
        )

    def _factors(self, moments: dict[str, State], steps: int) -> State:
        factors: State = {}
        for index, group in enumerate(self._optimizer.param_groups):
            names = [name for name, own in self._groups.items() if own == index]
            if names:
                rows = factors_of([moments[name] for name in names], group, steps)
                factors |= dict(zip(names, rows.to(self._model.device).unbind(), strict=True))
        return factors

    def _current_rates(self) -> list[Tensor]:
        """Return the groups' learning rates as tensors: a new value compiles nothing anew."""
        groups = self._optimizer.param_groups
        if not self._rates:
            device, double = self._model.device, torch.float64
            self._rates = [
                torch.empty((), device=device, dtype=double if _has_double(group) else None)
                for group in groups
            ]
        for tensor, group in zip(self._rates, groups, strict=True):
            tensor.fill_(group["lr"])
        return self._rates

    def _steps(
        self, state: _State, rates: list[Tensor], batches: list[Batch]
    ) -> tuple[Tensor, list[Tensor]]:
        """Do all steps. This is what is compiled, as one graph.

        Returns:
            The sums of the losses over the steps, and the predictions of each head for all samples.
        """
        weights, buffers, mark = dict(state.weights), dict(state.buffers), state.mark
        moments = dict(state.moments)
        losses, predictions = [], []
        for number, batch in enumerate(batches):
            gradients, outcome, after = self._gradients(weights, state.frozen, buffers, batch)
            if mark is not None:
                watched = gradients.values() if state.checks_gradients else ()
                mark = _marked(mark, outcome.loss, *watched)
                after = _where(mark == 0, after, buffers)
            buffers = after
            factors = {name: rows[number] for name, rows in state.factors.items()}
            self._update(weights, gradients, moments, rates, factors, state.options, mark)
            losses.append(widened(torch.stack([outcome.loss, *outcome.parts]).detach()))
            predictions.append(outcome.predictions)
        _write(state.weights, weights)
        _write(state.buffers, buffers)
        for name, moment in moments.items():
            _write(state.moments[name], moment)
        if mark is not None and state.mark is not None:
            state.mark.copy_(mark)
        joined = [torch.cat(of_head) for of_head in zip(*predictions, strict=True)]
        return torch.stack(losses).sum(0), joined

    def _gradients(
        self, weights: State, frozen: State, buffers: State, batch: Batch
    ) -> tuple[State, Outcome, State]:
        def loss_of(weights: State) -> tuple[Tensor, tuple[Outcome, State]]:
            # Layers write to their buffers in place, which inside of grad only a copy allows.
            own = {name: buffer.clone() for name, buffer in buffers.items()}
            with self._settings.autocast(self._model.device):
                outcome = functional_call(self._objective, {**weights, **frozen, **own}, (batch,))
            return outcome.loss, (outcome, own)

        gradients, (_, (outcome, after)) = grad_and_value(loss_of, has_aux=True)(weights)
        if self._settings.clips:
            clipped = self._settings.clipped(list(gradients.values()))
            gradients = dict(zip(gradients, clipped, strict=True))
        return gradients, outcome, after

    def _update(
        self,
        weights: State,
        gradients: State,
        moments: dict[str, State],
        rates: list[Tensor],
        factors: State,
        options: list[dict[str, Any]],
        mark: Tensor | None,
    ) -> None:
        """Put the weights and moments after one update in the places of those before."""
        rule = cast("Rule", self._rule)  # there is one, or this step would not be used
        for name, index in self._groups.items():
            weight, moment = rule(
                weights[name],
                gradients[name],
                moments[name],
                rates[index],
                factors[name],
                options[index],
            )
            if mark is not None:
                weight = torch.where(mark == 0, weight, weights[name])
                moment = _where(mark == 0, moment, moments[name])
            weights[name], moments[name] = weight, moment


class _Objective(nn.Module):
    """The forward pass as a module, so that its weights can be passed in as arguments."""

    def __init__(self, module: nn.Module, forward: ForwardPass) -> None:
        super().__init__()
        self.module = module
        self._pass = forward

    def forward(self, batch: Batch) -> Outcome:
        return self._pass(batch)


def _compile_errors() -> tuple[type[Exception], ...]:
    """Return what torch.compile raises for what it cannot compile; loaded when one was raised."""
    from torch._dynamo import exc  # noqa: PLC0415 - takes long to load, and compile has loaded it

    return exc.TorchDynamoException, exc.FailOnRecompileLimitHit


def _groups_by_name(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Return for each weight that the optimizer trains the index of its parameter group."""
    index_of = {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
    return {
        f"module.{name}": index_of[id(p)]
        for name, p in module.named_parameters()
        if id(p) in index_of and p.requires_grad
    }


def _has_double(group: Mapping[str, Any]) -> bool:
    """Say whether a group has weights for which a rate of float32 is not exact enough."""
    return any(parameter.dtype is torch.float64 for parameter in group["params"])


def _tensors(state: Mapping[str, Any]) -> State:
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _marked(mark: Tensor, *values: Tensor) -> Tensor:
    """Return the mark, set if one of the values is not finite."""
    for value in values:
        mark = torch.maximum(mark, 1 - torch.isfinite(value).all().to(mark.dtype))
    return mark


def _where(admitted: Tensor, new: State, old: State) -> State:
    return {name: torch.where(admitted, value, old[name]) for name, value in new.items()}


def _write(targets: State, values: State) -> None:
    for name, value in values.items():
        targets[name].copy_(value)
