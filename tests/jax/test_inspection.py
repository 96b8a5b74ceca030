"""The graph and the profile of a JAX model."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from callboard import Run
from callboard.callbacks import TensorBoard
from callboard.events import read_records
from callboard.jax import Model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.graph_pb2 import GraphDef

X, Y = np.ones((16, 4), "f4"), np.zeros((16, 2), "f4")


class Inner(nnx.Module):
    def __init__(self, rngs):
        self.last = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        return jax.lax.cond(x.sum() > 0, lambda a: a, lambda a: -a, self.last(x))


class Network(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 3, rngs=rngs)
        self.inner = Inner(rngs)

    def __call__(self, x):
        return nnx.softmax(self.inner(nnx.relu(self.first(x))))


def written(folder):
    """Return the graph's nodes by name, and the texts by tag."""
    nodes, texts = {}, {}
    for path in sorted((folder / "train").glob("events.*")):
        for event in map(Event.FromString, read_records(path)):
            if event.graph_def:
                nodes |= {node.name: node for node in GraphDef.FromString(event.graph_def).node}
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "text":
                    texts[value.tag] = value.tensor.string_val[0].decode()
    return nodes, texts


def fitted(folder, model=None, **options):
    if model is None:
        model = Model(Network(nnx.Rngs(0)))
        model.compile("sgd", "mse")
    tensorboard = TensorBoard(folder, **options)
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[tensorboard])
    return tensorboard.run


def test_operations_are_grouped_by_layers(tmp_path):
    fitted(tmp_path)
    nodes, texts = written(tmp_path)
    product = nodes["first/dot_general"]
    assert list(product.input) == ["input", "first/kernel"]
    shape = product.attr["_output_shapes"].list.shape[0]
    assert [axis.size for axis in shape.dim] == [4, 3]
    assert nodes["first/kernel"].op == "Weight"
    assert list(nodes["relu/max"].input) == ["first/add"]  # inside of a jitted function
    assert list(nodes["inner/last/dot_general"].input) == ["relu/max", "inner/last/kernel"]
    assert "cond" in nodes  # one node, its branches are not followed
    assert not any(name.startswith("unstack") for name in nodes)
    assert "dot_general" in texts["program"]
    assert texts["program"].startswith("    { lambda ")


def test_of_a_long_program_there_is_the_beginning(tmp_path):
    def apply(params, x):
        for _ in range(1100):
            x = jnp.tanh(x * 0.5)
        return x @ params["w"]

    model = Model(apply, {"w": jnp.ones((4, 2))})
    model.compile("sgd", "mse", run_eagerly=True)
    fitted(tmp_path, model)
    nodes, texts = written(tmp_path)
    lines = texts["program"].splitlines()
    assert len(lines) == 2001
    assert lines[-1].startswith("    ... ")
    assert lines[-1].endswith(" lines are left out")
    assert "tanh_1099" in nodes


def test_names_that_end_in_numbers_are_no_trouble(tmp_path):
    def apply(params, x):
        with jax.named_scope("tanh_1"):
            x = x + params["tanh_1"]
        return jnp.tanh(jnp.tanh(jnp.tanh(x))) @ params["w"]

    model = Model(apply, {"tanh_1": jnp.ones(4), "w": jnp.ones((4, 2))})
    model.compile("sgd", "mse")
    fitted(tmp_path, model)
    nodes, _ = written(tmp_path)
    assert nodes["tanh_1"].op == "Weight"
    assert [nodes[name].op for name in ("tanh", "tanh_2", "tanh_3")] == ["tanh"] * 3


def test_a_function_has_a_graph_too(tmp_path):
    def apply(params, x):
        return jnp.tanh(x @ params["w"])

    model = Model(apply, {"w": jnp.ones((4, 2))})
    model.compile("sgd", "mse")
    fitted(tmp_path, model)
    nodes, _ = written(tmp_path)
    assert list(nodes["dot_general"].input) == ["input", "w"]
    assert list(nodes["tanh"].input) == ["dot_general"]


def looped(folder, state, step):
    with Run(state=state, epochs=1, callbacks=[TensorBoard(folder)], verbose=0) as run:
        for _ in run.epochs():
            for batch in run.train([(X[:4], Y[:4])]):
                run.log(loss=step(run.state, batch))
    return run


def test_the_module_in_the_state_of_a_loop(tmp_path):
    module = Network(nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, optax.sgd(0.1), wrt=nnx.Param)
    looped(tmp_path, (module, optimizer), lambda state, batch: 0.5)
    nodes, _ = written(tmp_path)
    assert "input" in nodes["first/dot_general"].input
    assert {nodes[name].op for name in nodes["first/dot_general"].input} == {"Input", "Weight"}


def test_arrays_alone_have_none_and_the_journal_says_so(tmp_path):
    run = looped(tmp_path, {"w": jnp.ones(2)}, lambda state, batch: 0.5)
    (decision,) = run.journal
    assert decision.action == "skipped"
    assert "the state holds arrays and no module" in decision.cause
    assert written(tmp_path)[0] == {}


@pytest.mark.parametrize("per_call", [1, 2])
def test_batches_are_profiled(tmp_path, per_call):
    model = Model(Network(nnx.Rngs(0)))
    model.compile("sgd", "mse", steps_per_execution=per_call)
    run = fitted(tmp_path, model, profile_batch=(3, 4))
    (told,) = (d.cause for d in run.journal if d.action == "profiled")
    folder = tmp_path / "train" / "plugins" / "profile" / "batches-3-to-4"
    assert told == (
        f"batches 3 to 4 are profiled in {folder}; open it in TensorBoard, on the page Profile "
        "(pip install xprof)"
    )
    (profile,) = folder.glob("*.xplane.pb")
    assert b"jit_step" in profile.read_bytes()


def test_a_profiler_that_runs_already_keeps_nobody_from_training(tmp_path):
    with (
        jax.profiler.trace(str(tmp_path / "own")),
        pytest.warns(RuntimeWarning, match="profiles are not written: the profiler does not begin"),
    ):
        run = fitted(tmp_path, profile_batch=2)
    assert run.history.epoch == [0, 1]
    assert [d.action for d in run.journal] == ["skipped"]


class Words(nnx.Module):
    def __init__(self, rngs):
        self.words = nnx.Embed(5, 3, rngs=rngs)
        self.out = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        return self.out(self.words(x).mean(1))


class LinenWords(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(2)(linen.Embed(5, 3, name="words")(x).mean(1))


class EquinoxWords(eqx.Module):
    words: eqx.nn.Embedding
    out: eqx.nn.Linear

    def __call__(self, x):
        return self.out(jax.vmap(self.words)(x).mean(0))


def words(kind):
    if kind == "nnx":
        return Words(nnx.Rngs(0))
    if kind == "linen":
        return LinenWords()
    first, last = jax.random.split(jax.random.key(0))
    return EquinoxWords(eqx.nn.Embedding(5, 3, key=first), eqx.nn.Linear(3, 2, key=last))


@pytest.mark.parametrize("kind", ["nnx", "linen", "equinox"])
def test_embeddings_are_written_for_the_projector(kind, tmp_path):
    model = Model(words(kind))
    model.compile("sgd", "mse")
    tensorboard = TensorBoard(
        tmp_path, embeddings_freq=1, embeddings_metadata={"words": list("abcde")}
    )
    x = np.arange(16).reshape(8, 2) % 5
    model.fit(x, Y[:8], batch_size=4, verbose=0, callbacks=[tensorboard])
    (vectors,) = model.trainable.inspection.embeddings().values()
    written = np.loadtxt(tmp_path / "train" / "embedding-words.tsv", delimiter="\t")
    np.testing.assert_allclose(written, vectors, rtol=1e-5)
    assert written.shape == (5, 3)
    assert 'tensor_name: "words"' in (tmp_path / "train" / "projector_config.pbtxt").read_text()


def test_the_embedding_in_the_state_of_a_loop(tmp_path):
    state = {"params": {"words": {"embedding": jnp.ones((5, 3), jnp.bfloat16)}}}
    with Run(state=state, callbacks=[TensorBoard(tmp_path, embeddings_freq=1)], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([0]):
                run.log(loss=0.5)
    assert (tmp_path / "train" / "embedding-words.tsv").exists()
