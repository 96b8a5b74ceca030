import contextlib
import json
import pickle

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from callboard import DataError, FileFormatError
from callboard._core.errors import UnknownNameError
from callboard.torch import Model, files

ALL = [".safetensors", ".pt", ".pth", ".h5", ".weights.h5"]
WITH_OPTIMIZER = [".pt", ".pth", ".h5"]


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2).bfloat16().float())


X = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
Y = torch.randn(16, 2, generator=torch.Generator().manual_seed(2))


def trained(seed=0, optimizer="adam"):
    model = Model(net(seed))
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    return model


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("suffix", ALL)
def test_weights_and_buffers_come_back_bit_for_bit(tmp_path, suffix):
    model, other = trained(), Model(net(1))
    model.save_weights(tmp_path / f"deep/er/model{suffix}")
    other.load_weights(tmp_path / f"deep/er/model{suffix}")
    assert same(model.module, other.module)
    assert other.module[1].num_batches_tracked == 4


@pytest.mark.parametrize("suffix", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_other_types_come_back_bit_for_bit(tmp_path, suffix, dtype):
    model, other = Model(net().to(dtype)), Model(net(1).to(dtype))
    model.save(tmp_path / f"model{suffix}")
    other.load(tmp_path / f"model{suffix}")
    assert other.module[0].weight.dtype is dtype
    assert same(model.module, other.module)


OPTIMIZERS = {
    "adam": "adam",
    "rmsprop": "rmsprop",
    "nadam": "nadam",
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "no state": "sgd",
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, betas=(0.8, 0.99)),
    "rate as a tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), capturable=False),
    "groups": lambda p: torch.optim.SGD(
        [{"params": p[:2], "lr": 0.1, "momentum": 0.5}, {"params": p[2:]}], lr=0.01
    ),
}


@pytest.mark.parametrize("suffix", WITH_OPTIMIZER)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_after_loading_as_if_it_had_not_been_saved(tmp_path, suffix, name):
    model, other = trained(0, OPTIMIZERS[name]), trained(1, OPTIMIZERS[name])
    model.optimizer.learning_rate = 0.02
    model.save(tmp_path / f"model{suffix}")
    other.load(tmp_path / f"model{suffix}")
    assert other.optimizer.learning_rate == pytest.approx(0.02)
    assert same(model.module, other.module)
    for each in (model, other):
        each.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert same(model.module, other.module)
    assert model.history.history == other.history.history


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5"])
def test_formats_for_weights_leave_the_optimizer_alone(tmp_path, suffix):
    model, other = trained(), trained(1)
    before = other.optimizer.state_dict()["state"][0]["exp_avg"].clone()
    model.save(tmp_path / f"model{suffix}")
    other.load(tmp_path / f"model{suffix}")
    assert torch.equal(other.optimizer.state_dict()["state"][0]["exp_avg"], before)


@pytest.mark.parametrize("suffix", WITH_OPTIMIZER)
def test_weights_alone_are_saved_and_loaded_on_request(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    model, other = trained(), trained(1)
    model.save(path)
    before = other.optimizer.state_dict()["state"][0]["exp_avg"].clone()
    other.load_weights(path)
    assert same(model.module, other.module)
    assert torch.equal(other.optimizer.state_dict()["state"][0]["exp_avg"], before)
    model.save_weights(path)
    assert files.read(path).optimizer is None


def test_a_model_that_is_not_compiled_takes_the_weights_of_a_full_file(tmp_path):
    model, other = trained(), Model(net(1))
    model.save(tmp_path / "model.pt")
    other.load(tmp_path / "model.pt")
    assert same(model.module, other.module)


def test_files_of_weights_are_plain_state_dicts_for_everybody(tmp_path):
    model, plain = trained(), net(1)
    model.save_weights(tmp_path / "model.pt")
    plain.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert same(model.module, plain)
    plain = net(1)
    model.save_weights(tmp_path / "model.safetensors")
    plain.load_state_dict(safetensors.torch.load_file(tmp_path / "model.safetensors"))
    assert same(model.module, plain)


def test_state_dicts_of_others_are_loaded(tmp_path):
    plain, model = net(), Model(net(1))
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    model.load(tmp_path / "plain.pt")
    assert same(model.module, plain)
    model = Model(net(1))
    safetensors.torch.save_file(plain.state_dict(), tmp_path / "plain.safetensors")
    model.load_weights(tmp_path / "plain.safetensors")
    assert same(model.module, plain)


class WithExtra(nn.Linear):
    """Keeps something beside its weights in the state dict."""

    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        pass


@pytest.mark.parametrize("suffix", ALL)
def test_what_is_no_tensor_in_a_state_dict_is_left_alone(tmp_path, suffix):
    torch.manual_seed(0)
    model, other = Model(WithExtra(2, 1)), Model(WithExtra(2, 1))
    model.save(tmp_path / f"model{suffix}")
    other.load(tmp_path / f"model{suffix}")
    assert torch.equal(other.module.weight, model.module.weight)
    torch.save(model.module.state_dict(), tmp_path / "plain.pt")
    other.load(tmp_path / "plain.pt")


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight


@pytest.mark.parametrize("suffix", ALL)
def test_tied_and_transposed_weights_come_back(tmp_path, suffix):
    torch.manual_seed(0)
    model, other = Model(Tied()), Model(Tied())
    model.module.a.bias.data = torch.arange(6.0).reshape(2, 3).T[:, 0]
    model.save(tmp_path / f"model{suffix}")
    other.load(tmp_path / f"model{suffix}")
    assert same(model.module, other.module)
    assert other.module.a.weight is other.module.b.weight


def snapshot(model):
    weights = {name: value.clone() for name, value in model.module.state_dict().items()}
    moments = [state["exp_avg"].clone() for state in model.optimizer.state_dict()["state"].values()]
    return weights, moments, model.optimizer.learning_rate


def assert_unchanged(model, before):
    weights, moments, rate = snapshot(model)
    assert all(torch.equal(value, before[0][name]) for name, value in weights.items())
    assert all(map(torch.equal, moments, before[1]))
    assert rate == before[2]


@pytest.mark.parametrize("suffix", ALL)
def test_a_file_of_another_model_is_an_error_and_changes_nothing(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    model = trained()
    before = snapshot(model)
    Model(nn.Linear(4, 2)).save(path)
    with pytest.raises(DataError, match=r"another model: missing \['0.bias'.*unknown \['bias'"):
        model.load(path)
    wider = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    Model(wider).save(path)
    with pytest.raises(DataError, match=r"'0.weight' has shape \(6, 4\) in what is loaded and \(5"):
        model.load(path)
    assert_unchanged(model, before)


@pytest.mark.parametrize("suffix", WITH_OPTIMIZER)
def test_the_state_of_another_optimizer_is_an_error_and_changes_nothing(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    model = trained()
    before = snapshot(model)
    trained(1, "sgd").save(path)
    with pytest.raises(DataError, match=r"another optimizer, with the options .*'momentum'"):
        model.load(path)
    assert_unchanged(model, before)

    def split(parameters):
        parameters = list(parameters)
        return torch.optim.Adam([{"params": parameters[:1]}, {"params": parameters[1:]}])

    trained(1, split).save(path)
    with pytest.raises(DataError, match="does not fit this Adam"):
        model.load(path)
    assert_unchanged(model, before)
    model.load_weights(path)  # which is what the message says


@pytest.mark.parametrize("suffix", ALL)
def test_a_damaged_file_is_an_error_and_changes_nothing(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    model = trained()
    model.save(path)
    whole = path.read_bytes()
    before = snapshot(model)
    for damaged in (b"", b"x", whole[: len(whole) // 2], whole[:-1], b"\0" * len(whole)):
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError, match=path.name):
            model.load(path)
    assert_unchanged(model, before)


@pytest.mark.parametrize("suffix", ALL)
def test_no_single_damaged_byte_raises_anything_unexpected(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    model = Model(nn.Linear(3, 2))
    model.save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(len(whole) // 150, 1)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with contextlib.suppress(FileFormatError, DataError):
            model.load(path)


@pytest.mark.parametrize(
    "tree",
    [[torch.ones(2)], torch.ones(2), {"epoch": 3, "model": {}}, {"weights": 3}, "text"],
    ids=["list", "tensor", "checkpoint", "number", "text"],
)
def test_a_file_of_torch_that_holds_no_state_dict_is_an_error(tmp_path, tree):
    torch.save(tree, tmp_path / "other.pt")
    with pytest.raises(FileFormatError, match=r"other\.pt"):
        Model(net()).load(tmp_path / "other.pt")


@pytest.mark.parametrize("state", [3, {}, {"state": {}}, {"state": 1, "param_groups": [{}]}])
def test_a_file_with_something_else_for_the_optimizers_state_is_an_error(tmp_path, state):
    torch.save({"weights": net().state_dict(), "optimizer": state}, tmp_path / "other.pt")
    with pytest.raises(FileFormatError, match="no optimizer's state"):
        Model(net()).load(tmp_path / "other.pt")


def test_a_checkpoint_of_another_trainer_is_told_from_a_state_dict(tmp_path):
    torch.save({"epoch": 3, "model": net().state_dict()}, tmp_path / "other.pt")
    with pytest.raises(FileFormatError, match=r"no weights by name, but \['epoch', 'model'\]"):
        Model(net()).load(tmp_path / "other.pt")


class Evil:
    def __reduce__(self):
        return print, ("this must never be printed",)


def test_a_file_cannot_run_anything(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    for content in (pickle.dumps(Evil()), None):
        if content is None:
            torch.save({"weight": Evil()}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(FileFormatError):
            Model(net()).load(path)
    assert capsys.readouterr().out == ""


def test_a_foreign_hdf5_file_is_an_error(tmp_path):
    with h5py.File(tmp_path / "keras.weights.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.zeros((2, 2)))
    with pytest.raises(FileFormatError, match="no HDF5 file that callboard saved"):
        Model(net()).load_weights(tmp_path / "keras.weights.h5")


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Model(net()).load(tmp_path / "none.pt")


@pytest.mark.parametrize("name", ["model", "model.keras", "model.onnx", "model.tar.gz"])
def test_an_unknown_suffix_is_an_error_that_lists_the_known(tmp_path, name):
    model = Model(net())
    for act in (model.save, model.save_weights, model.load, model.load_weights):
        with pytest.raises(UnknownNameError, match=r"unknown file suffix .*\.safetensors"):
            act(tmp_path / name)
    with pytest.raises(UnknownNameError):
        model.trainable.check_path(tmp_path / name, weights_only=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_a_path_that_can_be_saved_is_accepted(tmp_path, suffix):
    assert files.suffix_of(tmp_path / f"a.b{suffix}") == suffix
    files.check_path(tmp_path / f"a.b{suffix}")


def test_an_existing_file_is_replaced_unless_forbidden(tmp_path):
    model, path = Model(net()), tmp_path / "model.pt"
    model.save(path, overwrite=False)
    before = path.read_bytes()
    Model(net(1)).save(path)
    assert path.read_bytes() != before
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(path, overwrite=False)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save_weights(path, overwrite=False)


def test_a_full_disk_is_an_oserror_and_leaves_the_file_before_whole(tmp_path, full_disk):
    small = Model(nn.Linear(3, 3))
    paths = [tmp_path / f"model{suffix}" for suffix in (".safetensors", ".pt", ".h5")]
    for path in paths:
        small.save(path)
    whole = [path.read_bytes() for path in paths]
    said = full_disk(
        "import torch\n"
        "from callboard.torch import Model\n"
        "for path in sorted(folder.iterdir()):\n"
        "    try:\n"
        "        Model(torch.nn.Linear(300, 300)).save(path)\n"
        "    except OSError as error:\n"
        "        print(path.suffix, error.errno)\n"
    )
    assert said.split() == [".h5", "27", ".pt", "27", ".safetensors", "27"]  # EFBIG
    assert [path.read_bytes() for path in paths] == whole
    assert len(list(tmp_path.iterdir())) == 3
    small.load(paths[0])


def test_of_a_failed_write_the_first_error_counts(tmp_path, monkeypatch):
    def save(tree, file):
        error = RuntimeError("unexpected pos")
        error.__context__ = OSError(28, "No space left on device")
        raise error

    model = Model(net())
    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="No space left"):
        model.save(tmp_path / "model.pt")

    def refuse(tree, file):
        raise RuntimeError("not a matter of files")

    monkeypatch.setattr(torch, "save", refuse)
    with pytest.raises(RuntimeError, match="not a matter of files"):
        model.save(tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_the_state_in_hdf5_is_plain_json_and_arrays(tmp_path):
    model = trained()
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as file:
        tree = json.loads(file["tree"][()].tobytes())
        assert set(tree) == {"weights", "optimizer"}
        assert np.array_equal(
            file["arrays/weights/0.weight"][()], model.module[0].weight.detach().numpy()
        )
