"""Damaged and hostile files: detected or refused, whatever was done to them."""

import hashlib
import json
import os
import pickle
import warnings

import numpy as np
import pytest

from callboard import DamagedCheckpointError, FileFormatError
from callboard.checkpoint import CheckpointStore
from callboard.checkpoint.dtypes import stand_in
from callboard.checkpoint.manifest import digest_of

TIED = np.arange(6.0)
TREE = {
    "weights": {
        "f4": np.linspace(0, 1, 50, dtype="f4").reshape(5, 10),
        "half": np.arange(7, dtype="<u2").view(stand_in("bfloat16", "<u2")),
        "scalar": np.array(3),
        "empty": np.zeros((0, 4)),
        "tied": TIED,
        "other name": TIED,
    },
    "frozen": {"f": np.arange(100)},
    "note": ("a", 1, None, 0.5, float("nan")),
}
FILES = ["manifest.json", "state.json", "weights.safetensors", "frozen.safetensors"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A store with two checkpoints whose frozen weights are one file."""
    folder = tmp_path_factory.mktemp("original")
    with CheckpointStore(folder) as store:
        for step in (1, 2):
            TREE["weights"]["f4"][0, 0] = step
            store.save(TREE, step=step)
    return folder


@pytest.fixture
def store(original, tmp_path):
    """A copy of it, where no file is a link."""
    for path in original.rglob("*"):
        target = tmp_path / "store" / path.relative_to(original)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return CheckpointStore(tmp_path / "store")


NEWEST = "step-00000002"


def regions(size):
    """Return the ends of pieces that cover a file: small ones, as every byte counts."""
    step = max(1, size // 60)
    return [(at, min(at + step, size)) for at in range(0, size, step)]


def flip(data, begin, end):
    middle = (begin + end) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


def zero(data, begin, end):
    return data[:begin] + bytes(end - begin) + data[end:]


def cut_out(data, begin, end):
    return data[:begin] + data[end:]


def truncate(data, begin, end):
    return data[:begin]


def swap(data, begin, end):
    other = (begin + len(data) // 2) % max(1, len(data) - (end - begin))
    piece = data[other : other + end - begin]
    return data[:begin] + piece + data[end:]


def put_in(data, begin, end):
    return data[:begin] + b" " + data[begin:]


@pytest.mark.parametrize("damage", [flip, zero, cut_out, truncate, swap, put_in])
@pytest.mark.parametrize("file", FILES)
def test_damage_anywhere_is_detected(store, file, damage):
    path = store.directory / NEWEST / file
    data = path.read_bytes()
    tried = 0
    for begin, end in regions(len(data)):
        damaged = damage(data, begin, end)
        if damaged == data:
            continue
        path.write_bytes(damaged)
        tried += 1
        assert store.verify(NEWEST), f"{damage.__name__} of {begin}:{end} is not seen"
        with pytest.raises(FileFormatError):
            store.load(NEWEST)
    assert tried > 10


def test_the_older_one_is_used_and_the_damaged_one_set_aside(store):
    path = store.directory / NEWEST / "weights.safetensors"
    path.write_bytes(flip(path.read_bytes(), 400, 404))
    told = r"weights\.safetensors is damaged in '.*set aside as 'damaged-step-00000002'"
    with pytest.warns(RuntimeWarning, match=told):
        tree = store.load()
    assert tree["weights"]["f4"][0, 0] == 1
    assert np.isnan(tree["note"][4])
    assert tree["weights"]["tied"] is tree["weights"]["other name"]
    assert not store.verify("step-00000001")
    assert [c.step for c in store.checkpoints()] == [1]
    store.close()


def listing(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_if_all_are_damaged_nothing_is_touched(store):
    for manifest in store.directory.glob("step-*/manifest.json"):
        manifest.write_bytes(manifest.read_bytes()[:-1])
    before = listing(store.directory)
    with pytest.raises(DamagedCheckpointError, match=r"all checkpoints .* were left as they are"):
        store.load()
    assert listing(store.directory) == before


def test_a_file_that_is_gone_or_too_much_is_told(store):
    (store.directory / NEWEST / "frozen.safetensors").unlink()
    (store.directory / NEWEST / "more.bin").write_bytes(b"x")
    assert [problem.split(" ", 1)[1] for problem in store.verify(NEWEST)] == [
        "cannot be read: No such file or directory",
        "has a file 'more.bin' that no manifest lists",
    ]


# ---- files that were made to do harm -------------------------------------------------------------


def forge(store, change):
    """Change the manifest of the newest checkpoint, and give it a digest that fits."""
    path = store.directory / NEWEST / "manifest.json"
    content = json.loads(path.read_bytes())
    del content["digest"]
    change(content)
    body = json.dumps(content, separators=(",", ":")).encode()[:-1]
    path.write_bytes(body + b',"digest":"' + digest_of(body).encode() + b'"}\n')


def tensor(content, name="f4"):
    return content["files"]["weights.safetensors"]["tensors"][name]


FORGERIES = {
    "format of the future": lambda c: c["summary"].update(format=2),
    "a size beyond memory": lambda c: c["files"]["state.json"].update(size=2**60),
    "a negative size": lambda c: c["files"]["state.json"].update(size=-1),
    "a negative offset": lambda c: tensor(c).update(bytes=[-8, 192]),
    "an offset beyond the file": lambda c: tensor(c).update(bytes=[2**40, 2**40 + 200]),
    "bytes the wrong way round": lambda c: tensor(c).update(bytes=[300, 100]),
    "a shape that overflows": lambda c: tensor(c).update(shape=[2**33, 2**33]),
    "a negative shape": lambda c: tensor(c).update(shape=[-5, -10]),
    "an unknown type": lambda c: tensor(c).update(dtype="object"),
    "no digest": lambda c: c["files"]["state.json"].pop("digest"),
    "files as a list": lambda c: c.update(files=[]),
    "no state": lambda c: c["files"].pop("state.json"),
    "a path upwards": lambda c: c["files"].update({"../../x": c["files"]["state.json"]}),
    "an absolute path": lambda c: c["files"].update({"/etc/passwd": c["files"]["state.json"]}),
    "a hidden name": lambda c: c["files"].update({".x": c["files"]["state.json"]}),
    "itself": lambda c: c["files"].update({"manifest.json": c["files"]["state.json"]}),
    "an alias of nothing": lambda c: c["files"]["weights.safetensors"].update(aliases={"a": "b"}),
    "a number as an epoch": lambda c: c["summary"].update(epoch=1.5),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_manifest_is_refused(store, name):
    forge(store, FORGERIES[name])
    with pytest.raises(FileFormatError):
        store.load(NEWEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert store.load()["weights"]["f4"][0, 0] == 1
    store.close()


class Harmful:
    def __reduce__(self):
        return os.system, ("touch /tmp/callboard-was-executed",)


HOSTILE = {
    "pickle": pickle.dumps(Harmful()),
    "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "twice": b'{"weights":1,"weights":2}',
    "constants": b'{"a":NaN}',
    "marks": b'{"a":{"$array":"weights/none"}}',
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_state_with_a_right_digest_is_refused(store, name):
    data = HOSTILE[name]
    (store.directory / NEWEST / "state.json").write_bytes(data)
    forge(
        store,
        lambda content: content["files"]["state.json"].update(
            size=len(data), digest=digest_of(data)
        ),
    )
    with pytest.raises(FileFormatError):
        store.load(NEWEST)
    assert not os.path.exists("/tmp/callboard-was-executed")  # noqa: PTH110 - just asked


def test_a_pickle_in_place_of_arrays_is_refused(store):
    (store.directory / NEWEST / "weights.safetensors").write_bytes(HOSTILE["pickle"])
    with pytest.raises(DamagedCheckpointError):
        store.load(NEWEST)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes of Unix")
def test_links_and_pipes_are_not_followed(store, tmp_path):
    secret = tmp_path / "secret"
    path = store.directory / NEWEST / "state.json"
    secret.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(secret)
    assert store.verify(NEWEST)  # although what it leads to is right
    path.unlink()
    os.mkfifo(path)  # an open() of it would wait for ever
    assert store.verify(NEWEST)
    manifest = store.directory / NEWEST / "manifest.json"
    manifest.unlink()
    os.mkfifo(manifest)
    assert store.verify(NEWEST)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links of Unix")
def test_a_link_in_place_of_a_checkpoint_is_none(store, tmp_path):
    real = tmp_path / "elsewhere"
    (store.directory / NEWEST).rename(real)
    (store.directory / NEWEST).symlink_to(real)
    with pytest.warns(RuntimeWarning, match="is used instead"):
        assert store.load()["weights"]["f4"][0, 0] == 1
    assert real.is_dir()
    store.close()
