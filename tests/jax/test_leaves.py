import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.training.train_state import TrainState

from callboard import DataError
from callboard.jax.leaves import leaves_of, weights_of, with_values


def roles(state):
    found = {}
    for leaf in leaves_of(state):
        found.setdefault(leaf.role, []).append(leaf.name)
    return found


def test_a_train_state_of_flax():
    layer = linen.Dense(3)
    params = layer.init(jax.random.key(0), jnp.ones((1, 2)))["params"]
    state = TrainState.create(apply_fn=layer.apply, params=params, tx=optax.sgd(0.1, 0.9))
    assert roles(state) == {
        "rest": ["step"],
        "weights": ["params.bias", "params.kernel"],
        "optimizer": ["opt_state.0.trace.bias", "opt_state.0.trace.kernel"],
    }
    assert list(weights_of(leaves_of(state))) == ["bias", "kernel"]


def test_a_module_and_an_optimizer_of_nnx_are_changed_in_place():
    module = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, optax.sgd(0.1, 0.9), wrt=nnx.Param)
    state = (module, optimizer)
    assert roles(state)["weights"] == ["0.bias", "0.kernel"]
    assert "1.opt_state.0.trace.kernel" in roles(state)["optimizer"]
    kernel = module.kernel
    assert with_values(state, {"0.kernel": np.full((2, 1), 5.0, "f4")}) is state
    assert module.kernel is kernel
    assert kernel[...].tolist() == [[5.0], [5.0]]


def test_a_module_of_equinox_and_a_random_key():
    module = eqx.nn.Linear(2, 1, key=jax.random.key(0))
    state = {"model": module, "key": jax.random.key(1), "lr": 0.1}
    assert roles(state) == {"rest": ["key", "lr"], "weights": ["model.weight", "model.bias"]}
    changed = with_values(state, {"model.bias": np.ones(1, "f4")})
    assert changed["model"].bias.tolist() == [1.0]
    assert changed["model"].weight is module.weight
    assert state["model"].bias is module.bias


def test_an_optimizer_of_ones_own_is_known_by_its_name():
    state = {"params": jnp.ones(2), "opt_state": {"velocity": jnp.zeros(2)}}
    assert roles(state) == {"weights": ["params"], "optimizer": ["opt_state.velocity"]}


def test_names_are_unique_and_one_array_has_one():
    assert roles({"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}})["weights"] == ["a.b", "a%2Eb"]
    assert roles(jnp.ones(1)) == {"weights": ["array"]}
    assert with_values(jnp.ones(1), {"array": np.zeros(1, "f4")}).tolist() == [0.0]


def test_what_does_not_fit_changes_nothing():
    module = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    before = module.kernel[...]
    values = {"kernel": np.zeros((2, 1), "f4"), "bias": np.zeros(2, "f4")}
    with pytest.raises(DataError, match=r"'bias' has shape \(2,\) in what is loaded and \(1,\)"):
        with_values(module, values)
    assert module.kernel[...] is before
    with pytest.raises(DataError, match="type int32"):
        with_values(module, {"bias": np.zeros(1, "i4")})


def test_a_weak_type_and_a_committed_placement_stay():
    device = jax.devices()[0]
    state = {"free": jnp.ones(2), "put": jax.device_put(jnp.ones(2), device)}
    changed = with_values(state, {"free": np.zeros(2, "f4"), "put": np.zeros(2, "f4")})
    assert not changed["free"].committed
    assert changed["put"].committed


def test_a_structure_is_walked_through_once(monkeypatch):
    state = {"params": {"w": jnp.ones(2)}, "once": jnp.int32(0)}
    assert [leaf.role for leaf in leaves_of(state)] == ["rest", "weights"]
    monkeypatch.setattr("callboard.jax.leaves._walk", None)
    later = {"params": {"w": jnp.zeros(2)}, "once": jnp.int32(3)}
    assert [leaf.value.tolist() for leaf in leaves_of(later)] == [3, [0.0, 0.0]]
    changed = with_values(later, {"once": 5})
    assert int(changed["once"]) == 5
    assert changed["params"]["w"] is later["params"]["w"]


def test_the_roles_go_by_the_types_and_not_by_the_structure_alone():
    assert [leaf.role for leaf in leaves_of({"a": jnp.ones(2)})] == ["weights"]
    assert [leaf.role for leaf in leaves_of({"a": jax.random.key(0)})] == ["rest"]
    assert leaves_of({"a": "a text"}) == []


def test_what_cannot_be_compared_is_walked_through_every_time():
    class Holder:
        pass

    jax.tree_util.register_pytree_with_keys(
        Holder,
        lambda h: (((jax.tree_util.GetAttrKey("w"), h.w),), {"not": ["hashable"]}),
        lambda _, children: children[0],
    )
    holder = Holder()
    holder.w = jnp.ones(2)
    assert [leaf.name for leaf in leaves_of(holder)] == ["w"]
