import pytest
import torch

from callboard.torch.denormals import denormals_flushed

if not torch.set_flush_denormal(False):
    pytest.skip("this processor cannot flush denormals", allow_module_level=True)


def half_of_the_smallest():
    return (torch.tensor([torch.finfo(torch.float32).tiny]) / 2).item()


def test_denormals_are_zero_within_the_block_and_numbers_afterwards():
    assert half_of_the_smallest() > 0
    with denormals_flushed():
        assert half_of_the_smallest() == 0
    assert half_of_the_smallest() > 0


def test_an_error_puts_the_switch_back_too():
    with pytest.raises(ZeroDivisionError), denormals_flushed():
        raise ZeroDivisionError
    assert half_of_the_smallest() > 0


def test_a_switch_that_was_set_stays_set():
    torch.set_flush_denormal(True)
    try:
        with denormals_flushed():
            pass
        assert half_of_the_smallest() == 0
    finally:
        torch.set_flush_denormal(False)
