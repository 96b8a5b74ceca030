import pytest
import torch
from torch import nn

from callboard.torch.kept_buffers import KeptBuffers


def means(module):
    return [value.tolist() for value in module.buffers()]


class Tables(nn.Module):
    """A batch normalization, a large table that nobody changes, and a large one that changes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("mask", torch.zeros(300, 300))
        self.register_buffer("count", torch.zeros(300, 300))

    def forward(self, x):
        self.count += 1
        return self.norm(x)


@pytest.mark.parametrize("where", [None, 1.0, 0.0])
def test_what_was_kept_comes_back_once(where):
    module = nn.BatchNorm1d(2)
    buffers = KeptBuffers(module, follows=False)
    buffers.keep()
    before = means(module)
    module(torch.randn(4, 2))
    changed = means(module)
    assert changed != before
    buffers.put_back(None if where is None else torch.tensor(where))
    assert means(module) == (changed if where == 0.0 else before)
    module(torch.randn(4, 2))
    after = means(module)
    buffers.put_back()
    assert means(module) == after  # nothing has been kept since


def test_large_buffers_that_the_first_update_leaves_are_not_copied_again():
    module = Tables()
    buffers = KeptBuffers(module, follows=False)
    for _ in range(2):
        buffers.keep()
        module(torch.randn(4, 2))
    copied = {id(buffer) for buffer in buffers._buffers}
    assert id(module.mask) not in copied
    assert len(copied) == 4
    buffers.put_back()
    assert module.count[0, 0] == 1


def test_they_are_kept_before_the_first_forward_pass_of_an_update():
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2), nn.BatchNorm1d(2))
    buffers = KeptBuffers(module, follows=True)
    assert buffers.are_followed
    before = means(module)
    for _ in range(3):  # batches that are accumulated
        module(torch.randn(4, 2))
    buffers.put_back()
    assert means(module) == before
    module(torch.randn(4, 2))
    buffers.forget()
    before = means(module)
    module(torch.randn(4, 2))
    buffers.put_back()
    assert means(module) == before
    buffers.close()
    assert not any(layer._forward_pre_hooks for layer in module)


def test_passes_in_evaluation_mode_begin_no_update():
    module = nn.BatchNorm1d(2)
    buffers = KeptBuffers(module, follows=True)
    module.eval()(torch.randn(4, 2))
    module.train()
    module.num_batches_tracked += 1
    before = means(module)
    buffers.put_back()
    assert means(module) == before


def test_without_buffers_there_is_nothing_to_follow():
    buffers = KeptBuffers(module := nn.Linear(2, 1), follows=True)
    assert not buffers.are_followed
    assert not module._forward_pre_hooks
    buffers.keep()
    buffers.put_back()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_layers_stay_one_graph_that_is_compiled_once():
    compilations = []

    def backend(graph, _inputs):
        compilations.append(graph)
        return graph.forward

    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    inside = torch.compile(net[0], backend=backend, fullgraph=True)
    KeptBuffers(net, follows=True)
    for _ in range(3):
        inside(torch.randn(4, 2)).sum().backward()
    assert len(compilations) == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_module_that_is_compiled_as_a_whole_is_followed_from_outside():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    buffers = KeptBuffers(compiled, follows=True)
    before = means(net)
    compiled(torch.randn(4, 2))
    assert means(net) != before
    buffers.put_back()
    assert means(net) == before
