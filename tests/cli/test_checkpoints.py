"""``callboard checkpoints``."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from callboard.checkpoint import CheckpointStore, best
from callboard.cli import main


@pytest.fixture
def folder(tmp_path):
    """A store of three checkpoints, the second the best; frozen weights are one file."""
    frozen, tied = {"f": np.arange(1000.0)}, np.ones(3, "f4")
    with CheckpointStore(tmp_path / "ckpt", keep=[best(9, "val_loss")]) as store:
        for step, loss in ((10, 0.5), (20, 0.25), (30, 0.75)):
            weights = {"a.weight": np.full((2, 2), step, "f4"), "in": tied, "out": tied}
            store.save(
                {"weights": weights, "frozen": frozen, "optimizer": {"state": {0: {"m": tied}}}},
                step=step,
                epoch=step // 10,
                metrics={"val_loss": loss},
            )
    return tmp_path / "ckpt"


def call(capsys, *arguments):
    status = main(["checkpoints", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def damage(folder, step):
    path = folder / f"step-000000{step}" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_list_shows_what_is_there(folder, capsys):
    status, out, _ = call(capsys, "list", folder)
    assert status == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[2][:3] == ["step-00000010", "10", "1"]
    assert [line[-3:] for line in lines[2:5]] == [
        ["kB", "val_loss", "0.5"],
        ["best", "val_loss", "0.25"],
        ["last", "val_loss", "0.75"],
    ]
    assert "3 checkpoints" in out


def test_list_counts_links_once_and_finds_stores_below(folder, capsys):
    out = call(capsys, "list", folder.parent)[1]
    assert str(folder) in out
    sizes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    shown = float(out.split("checkpoints, ")[1].split(" kB")[0])
    assert shown * 1000 < sizes - 15_000


def test_list_as_json(folder, capsys):
    facts = [json.loads(line) for line in call(capsys, "list", folder, "--json")[1].splitlines()]
    assert [fact["step"] for fact in facts] == [10, 20, 30]
    assert facts[1]["is"] == ["best"]
    assert facts[1]["metrics"] == {"val_loss": 0.25}


def test_list_mentions_what_is_damaged(folder, capsys):
    (folder / "step-00000010").rename(folder / "damaged-step-00000010")
    (folder / "step-00000020" / "manifest.json").write_text("{")
    out = call(capsys, "list", folder)[1]
    assert "damaged-step-00000010 was set aside as damaged" in out
    assert "step-00000020 cannot be read" in out


def test_verify_reads_everything(folder, capsys):
    status, out, err = call(capsys, "verify", folder)
    assert (status, err) == (0, "")
    assert out.count(": whole\n") == 3
    assert "3 whole, 0 damaged; " in out
    damage(folder, 20)
    status, out, err = call(capsys, "verify", folder, "--quiet")
    assert status == 1
    assert "step-00000020/weights.safetensors is damaged in" in out
    assert ": whole" not in out
    assert err == "callboard: error: 1 of 3 checkpoints are damaged\n"
    assert call(capsys, "verify", folder / "step-00000030")[0] == 0


def test_prune_goes_by_rules(folder, capsys):
    dry = call(capsys, "prune", folder, "--last", 1, "--dry-run")[1]
    assert dry.count("would remove") == 2
    assert "1 checkpoints kept" in dry
    assert len(CheckpointStore(folder).checkpoints()) == 3
    status, out, _ = call(capsys, "prune", folder, "--last", 1, "--best", "1:val_loss")
    assert status == 0
    assert out.count("removed ") == 1
    assert [c.step for c in CheckpointStore(folder).checkpoints()] == [20, 30]
    call(capsys, "prune", folder, "--every-steps", 30)
    assert [c.step for c in CheckpointStore(folder).checkpoints()] == [30]
    call(capsys, "prune", folder, "--every-epochs", 50, "--every-seconds", 50)
    assert [c.step for c in CheckpointStore(folder).checkpoints()] == [30]


def test_prune_removes_damaged_ones_if_asked(folder, capsys):
    (folder / "step-00000010").rename(folder / "damaged-step-00000010")
    call(capsys, "prune", folder, "--damaged", "--dry-run")
    assert (folder / "damaged-step-00000010").exists()
    call(capsys, "prune", folder, "--damaged")
    assert not (folder / "damaged-step-00000010").exists()
    assert len(CheckpointStore(folder).checkpoints()) == 2


@pytest.mark.parametrize(
    ("which", "step"), [([], 20), (["--which", "last"], 30), (["--which", "step-00000010"], 10)]
)
def test_export_makes_a_plain_file(folder, tmp_path, capsys, which, step):
    out = tmp_path / "model.safetensors"
    status, said, _ = call(capsys, "export", folder, *which, "-o", out)
    assert status == 0
    assert said.startswith("4 arrays of ")
    arrays = load_file(out)
    assert arrays.keys() == {"a.weight", "in", "out", "f"}
    assert arrays["a.weight"][0, 0] == step


def test_export_to_pytorch_and_other_groups(folder, tmp_path, capsys):
    out = tmp_path / "model.pt"
    assert call(capsys, "export", folder / "step-00000010", "-o", out)[0] == 0
    assert torch.load(out, weights_only=True)["a.weight"][0, 0] == 10
    other = tmp_path / "optimizer.safetensors"
    assert call(capsys, "export", folder, "--group", "optimizer", "-o", other)[0] == 0
    assert load_file(other).keys() == {"state.0.m"}


def test_export_never_writes_what_is_damaged(folder, tmp_path, capsys):
    damage(folder, 20)
    out = tmp_path / "model.safetensors"
    status, _, err = call(capsys, "export", folder, "-o", out)
    assert status == 1
    assert "is damaged" in err
    assert not out.exists()


def test_export_replaces_only_if_asked(folder, tmp_path, capsys):
    out = tmp_path / "model.safetensors"
    out.write_text("mine")
    status, _, err = call(capsys, "export", folder, "-o", out)
    assert (status, out.read_text()) == (1, "mine")
    assert "--force replaces it" in err
    assert call(capsys, "export", folder, "-o", out, "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["list", "nowhere"], 1, "'nowhere' is no folder"),
        (["list", "{empty}"], 1, "there are no checkpoints in"),
        (["verify", "{empty}"], 1, "there are no checkpoints in"),
        (["prune", "{folder}"], 1, "prune needs a rule"),
        (["prune", "{folder}", "--last", "0"], 2, "must be a whole number, 1 or more"),
        (["prune", "{folder}", "--best", "val_loss"], 2, "such as 2:val_loss"),
        (["prune", "{folder}", "--best", "1:odd"], 1, "mode="),
        (["export", "{folder}", "-o", "x.bin"], 1, "unknown file suffix '.bin'"),
        (["export", "{folder}", "-o", "x.pt", "--which", "step-00000011"], 1, "Did you mean"),
        (["export", "{folder}", "-o", "x.pt", "--group", "none"], 1, "no arrays of 'none'"),
        (["export", "{folder}"], 2, "required: -o/--output"),
        (["show", "{folder}"], 2, "invalid choice: 'show'"),
        ([], 2, "required: ACTION"),
    ],
)
def test_wrong_use_is_one_line(folder, tmp_path, capsys, arguments, status, message):
    (tmp_path / "empty").mkdir()
    given = [a.format(folder=folder, empty=tmp_path / "empty") for a in arguments]
    found, _, err = call(capsys, *given)
    assert found == status
    assert message in err
    assert len(err.splitlines()) == 1


def test_as_a_program_in_a_pipe(folder, piped, tmp_path):
    done = piped("-m", "callboard", "checkpoints", "list", folder, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "step-00000030" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("action", "method", "said"),
    [
        ("verify", "verify", "2 whole, 0 damaged"),
        ("list", "pointed_to", "step-00000030"),
    ],
)
def test_a_checkpoint_that_a_run_removes_meanwhile_is_left_out(
    folder, capsys, monkeypatch, action, method, said
):
    original = getattr(CheckpointStore, method)

    def late(self, name):
        shutil.rmtree(folder / "step-00000010", ignore_errors=True)
        return original(self, name)

    monkeypatch.setattr(CheckpointStore, method, late)
    status, out, err = call(capsys, action, folder)
    assert (status, err) == (0, "")
    assert said in out
    assert "step-00000010" not in out
