"""Copying tensors to the host."""

import numpy as np
import pytest
import torch

from callboard.torch.state import source_of

BASE = torch.arange(24.0)


@pytest.mark.parametrize("threads_from", [0, 2**30], ids=["by torch", "by NumPy"])
@pytest.mark.parametrize(
    "tensor",
    [
        BASE,
        torch.nn.Parameter(BASE.clone()),
        BASE.reshape(4, 6).T,
        BASE[::3],
        BASE.to(torch.bfloat16),
        BASE.reshape(4, 6).T.to(torch.float8_e4m3fn),
        BASE > 3,
        torch.tensor(7),
        torch.zeros(0, 3),
        torch.complex(BASE, -BASE).conj(),
        torch.complex(BASE, -BASE).conj().imag,
        BASE.expand(3, 24),
    ],
    ids=[
        "whole",
        "parameter",
        "transposed",
        "strided",
        "bfloat16",
        "float8",
        "bool",
        "0-d",
        "empty",
        "conjugate",
        "negative",
        "expanded",
    ],
)
def test_a_tensor_of_any_kind_is_copied_value_by_value(monkeypatch, tensor, threads_from):
    monkeypatch.setattr("callboard.torch.state._THREADS_FROM", threads_from)
    source = source_of(tensor)
    target = np.empty(source.shape, source.dtype)
    source.copy_to(target)
    if target.dtype.names:
        target = target.view(f"u{target.dtype.itemsize}")
        tensor = tensor.contiguous().view(torch.uint16 if tensor.itemsize == 2 else torch.uint8)
    expected = tensor.detach().resolve_conj().resolve_neg().numpy()
    np.testing.assert_array_equal(target, expected)


def test_the_copy_does_not_follow_the_tensor():
    tensor = BASE.clone()
    source = source_of(tensor)
    target = np.empty(source.shape, source.dtype)
    source.copy_to(target)
    tensor += 1
    np.testing.assert_array_equal(target, BASE.numpy())
