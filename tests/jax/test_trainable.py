import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from safetensors.numpy import load_file

from callboard import DataError, FileFormatError, RunStateError, UnknownNameError, UnsupportedError
from callboard.checkpoint.safetensors import write_safetensors
from callboard.jax import Model, state_trainable
from callboard.jax.leaves import leaves_of
from callboard.jax.rates import rates_of

RATE = optax.inject_hyperparams(optax.adam)


def made(tx=None, value=1.0, dtype="f4"):
    params = {"dense": {"w": jnp.full((2, 3), value, dtype), "b": jnp.zeros(3, dtype)}}
    tx = RATE(learning_rate=0.5) if tx is None else tx
    state = {"params": params, "opt_state": tx.init(params), "key": jax.random.key(7), "step": 0}
    return state_trainable(state)


def test_weights_are_copies_and_go_back():
    trainable = made()
    weights = trainable.weights()
    assert {n: a.shape for n, a in weights.items()} == {"dense.b": (3,), "dense.w": (2, 3)}
    weights["dense.w"][...] = 2.0
    assert float(trainable.state["params"]["dense"]["w"][0, 0]) == 1.0
    trainable.set_weights(weights)
    assert float(trainable.state["params"]["dense"]["w"][0, 0]) == 2.0
    into = {name: np.zeros_like(array) for name, array in weights.items()}
    assert trainable.weights(into=into) is into
    assert into["dense.w"][0, 0] == 2.0
    with pytest.raises(DataError, match=r"missing \['dense.w'\], unknown none"):
        trainable.set_weights({"dense.b": weights["dense.b"]})


def test_the_learning_rate_is_read_and_set_in_the_optimizers_state():
    trainable = made()
    trainable.learning_rate = 0.25
    assert trainable.learning_rate == 0.25
    assert trainable.state["opt_state"].hyperparams["learning_rate"].dtype == jnp.float32
    assert trainable.model.optimizer.lr.numpy() == np.float32(0.25)
    trainable.model.optimizer.lr.assign(0.125)
    assert trainable.model.optimizer.learning_rate == 0.125
    assert not trainable.rate_controller
    with pytest.raises(UnsupportedError, match=r"optax.inject_hyperparams\(optax.adam\)"):
        _ = made(optax.adam(1e-3)).learning_rate


def test_several_rates_keep_their_ratio():
    tx = optax.partition(
        {"w": RATE(learning_rate=0.5), "b": RATE(learning_rate=0.25)},
        {"dense": {"w": "w", "b": "b"}},
    )
    trainable = made(tx)
    first = trainable.learning_rate
    trainable.learning_rate = first / 2
    rates = sorted(float(leaf.value) for leaf in rates_of(leaves_of(trainable.state)))
    assert rates == [0.125, 0.25]


def test_a_schedule_inside_the_optimizer_is_a_controller():
    trainable = made(RATE(learning_rate=optax.cosine_decay_schedule(0.1, 10)))
    assert trainable.rate_controller == "a schedule in the optimizer"
    assert trainable.learning_rate == pytest.approx(0.1)
    with pytest.raises(UnsupportedError, match=r"sets the learning rate anew .* with a number"):
        trainable.learning_rate = 0.5


def test_a_schedule_of_something_else_leaves_the_rate_to_callbacks():
    trainable = made(RATE(learning_rate=0.5, b1=optax.linear_schedule(0.9, 0.8, 10)))
    assert not trainable.rate_controller
    trainable.learning_rate = 0.25
    assert trainable.learning_rate == 0.25


def test_of_several_rates_callbacks_have_those_that_no_schedule_sets():
    schedule = optax.cosine_decay_schedule(0.125, 10)
    tx = optax.partition(
        {"b": RATE(learning_rate=schedule), "w": RATE(learning_rate=0.5)},
        {"dense": {"w": "w", "b": "b"}},
    )
    trainable = made(tx)
    assert not trainable.rate_controller
    trainable.learning_rate = 0.25
    inner = trainable.state["opt_state"].inner_states
    rates = {n: float(s.inner_state.hyperparams["learning_rate"]) for n, s in inner.items()}
    assert rates == {"b": 0.125, "w": 0.25}


def test_what_is_not_finite_is_named():
    trainable = made()
    assert trainable.nonfinite() == ""
    trainable.set_weights({"dense.w": np.full((2, 3), np.nan, "f4"), "dense.b": np.zeros(3, "f4")})
    assert trainable.nonfinite() == "dense.w"


@pytest.mark.parametrize("name", ["m.h5", "m.weights.h5", "m.safetensors"])
def test_a_file_loads_into_a_fresh_state(name, tmp_path):
    trainable = made(value=3.0)
    trainable.learning_rate = 0.125
    trainable.state = {**trainable.state, "key": jax.random.key(9), "step": jnp.int32(5)}
    trainable.check_path(tmp_path / name, weights_only=False)
    trainable.save(tmp_path / name, weights_only=False)
    fresh = made()
    fresh.load(tmp_path / name, weights_only=False)
    assert fresh.weights()["dense.w"][0, 0] == 3.0
    whole = name == "m.h5"
    assert fresh.learning_rate == (0.125 if whole else 0.5)
    expected = jax.random.key(9 if whole else 7)
    assert jnp.array_equal(jax.random.key_data(fresh.state["key"]), jax.random.key_data(expected))
    assert int(fresh.state["step"]) == (5 if whole else 0)


def test_bfloat16_survives_a_file(tmp_path):
    trainable = made(value=1.5, dtype="bfloat16")
    trainable.save(tmp_path / "m.safetensors", weights_only=True)
    fresh = made(dtype="bfloat16")
    fresh.load(tmp_path / "m.safetensors", weights_only=True)
    assert fresh.state["params"]["dense"]["w"].dtype == jnp.bfloat16
    assert float(fresh.state["params"]["dense"]["w"][0, 0]) == 1.5


def test_files_of_others_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown file suffix '.pt'"):
        made().check_path(tmp_path / "m.pt", weights_only=True)
    write_safetensors(tmp_path / "m.safetensors", {"dense.w": np.zeros((2, 3), "f4")})
    assert list(load_file(tmp_path / "m.safetensors")) == ["dense.w"]
    with pytest.raises(DataError, match=r"missing \['dense.b'\]"):
        made().load(tmp_path / "m.safetensors", weights_only=True)
    (tmp_path / "m.h5").write_bytes(b"none")
    with pytest.raises(FileFormatError):
        made().load(tmp_path / "m.h5", weights_only=True)


def test_a_state_that_was_donated_and_not_replaced_says_so():
    trainable = made()
    jax.jit(lambda s: jax.tree.map(jnp.negative, s), donate_argnums=0)(trainable.state["params"])
    with pytest.raises(RunStateError, match=r"run.state = step\(run.state, batch\)"):
        trainable.weights()


def test_a_state_goes_on_from_another_ones():
    trainable = made(value=4.0)
    trainable.learning_rate = 0.125
    fresh = made()
    fresh.load_state_dict(trainable.state_dict())
    assert fresh.learning_rate == 0.125
    with pytest.raises(DataError, match="the optimizer are those of another"):
        made(optax.sgd(0.1)).load_state_dict(trainable.state_dict())


def test_updates_of_a_loop_of_ones_own_are_not_guarded():
    trainable = made()
    assert trainable.guard(gradients=False) is False
    with pytest.raises(UnsupportedError, match=r"optax.apply_if_finite"):
        trainable.guard(gradients=True)
    assert trainable.rejected == ""
    trainable.unguard()


def test_kernels_of_equinox_have_their_outputs_first_and_those_of_flax_do_not():
    net = eqx.nn.Linear(2, 1, key=jax.random.key(0))
    assert Model(net).trainable.inspection.outputs_first
    assert not Model(nnx.Linear(2, 1, rngs=nnx.Rngs(0))).trainable.inspection.outputs_first
