"""Damaged and hostile files: detected or refused, whatever was done to them."""

import copy
import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import warnings

import numpy as np
import pytest

from callboard import DamagedCheckpointError, FileFormatError, NoCheckpointError
from callboard._core.fs import Disk
from callboard.checkpoint import CheckpointStore, last
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


def extend(data, begin, end):
    return data + data[begin:end]


@pytest.mark.parametrize("damage", [flip, zero, cut_out, truncate, swap, put_in, extend])
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


@pytest.mark.parametrize("file", FILES)
def test_every_single_bit_counts(store, file):
    path = store.directory / NEWEST / file
    data = bytearray(path.read_bytes())
    with path.open("r+b", buffering=0) as opened:
        for at in range(len(data)):
            data[at] ^= 1 << at % 8
            opened.seek(0)
            opened.write(data)
            assert store.verify(NEWEST), f"bit {at % 8} of byte {at} is not seen"
            data[at] ^= 1 << at % 8


@pytest.mark.parametrize("other", FILES)
@pytest.mark.parametrize("file", FILES)
def test_another_files_content_is_detected(store, file, other):
    path = store.directory / NEWEST / file
    own = path.read_bytes()
    for folder in (NEWEST, "step-00000001"):
        content = (store.directory / folder / other).read_bytes()
        # As long as the file's own, too: a system that mixes up blocks changes no lengths.
        for damaged in (content, (content + bytes(len(own)))[: len(own)]):
            if damaged != own:
                path.write_bytes(damaged)
                assert store.verify(NEWEST), f"{folder}/{other} is not seen"
                with pytest.raises(FileFormatError):
                    store.load(NEWEST)


# ---- the next older one --------------------------------------------------------------------------


def is_tree_of(tree, step):
    expected = copy.deepcopy(TREE)
    expected["weights"]["f4"][0, 0] = step
    np.testing.assert_equal(tree, expected)
    return True


def puts_back(store):
    """Undo that a checkpoint was set aside."""
    for path in store.directory.glob("damaged-*"):
        path.rename(store.directory / path.name.removeprefix("damaged-"))


@pytest.mark.parametrize("damage", [flip, zero, truncate, swap])
@pytest.mark.parametrize("file", FILES)
def test_the_older_one_is_used_whatever_is_damaged(store, file, damage):
    path = store.directory / NEWEST / file
    data = path.read_bytes()
    for begin, end in regions(len(data))[::8]:
        damaged = damage(data, begin, end)
        if damaged == data:
            continue
        path.write_bytes(damaged)
        with pytest.warns(RuntimeWarning, match=rf"{NEWEST}.*step-00000001 is used instead"):
            assert is_tree_of(CheckpointStore(store.directory).load(), 1)
        aside = store.directory / f"damaged-{NEWEST}" / file
        assert aside.read_bytes() == damaged  # for whoever wants to look into it
        puts_back(store)


def test_no_bit_of_a_manifest_makes_an_older_one_be_used_without_a_warning(store):
    path = store.directory / NEWEST / "manifest.json"
    data = bytearray(path.read_bytes())
    silent = []
    for bit in range(8 * data.index(b',"files"')):  # what is read to list the checkpoints
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            CheckpointStore(store.directory).load()
        if not any(NEWEST in str(warning.message) for warning in told):
            silent.append(bytes(data[max(0, bit // 8 - 10) : bit // 8 + 3]))
        data[bit // 8] ^= 1 << bit % 8
        puts_back(store)
    assert silent == []


def test_no_bit_of_an_older_manifest_makes_the_newest_one_go(store):
    path = store.directory / "step-00000001" / "manifest.json"
    data, before = bytearray(path.read_bytes()), store.directory.with_name("before")
    lost = []
    for bit in range(8 * data.index(b',"files"')):
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        os.rename(store.directory, before)  # noqa: PTH104 - a copy is made of it
        shutil.copytree(before, store.directory, copy_function=os.link)
        with CheckpointStore(store.directory, keep=[last(1)]) as pruning:
            pruning.prune()
            whole = [c.name for c in pruning.checkpoints() if not pruning.verify(c)]
        if NEWEST not in whole:
            lost.append(bytes(data[max(0, bit // 8 - 10) : bit // 8 + 3]))
        data[bit // 8] ^= 1 << bit % 8
        shutil.rmtree(store.directory)
        before.rename(store.directory)
    assert lost == []


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
    """Return all there is: names, kinds, times of change, and a digest of every content."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IFMT(path.lstat().st_mode),
            path.lstat().st_mtime_ns,
            path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in (folder, *folder.rglob("*"))
    }


@pytest.mark.parametrize("damage", [flip, zero, truncate])
@pytest.mark.parametrize("file", FILES)
def test_if_all_are_damaged_nothing_is_touched(store, file, damage):
    for path in store.directory.glob(f"step-*/{file}"):
        path.write_bytes(damage(path.read_bytes(), 20, 40))
    before = listing(store.directory)
    told = (
        r"all checkpoints .* were left as they are: .*step-00000002.*step-00000001.*To begin anew"
    )
    for _ in range(2):
        with pytest.raises(DamagedCheckpointError, match=told):
            CheckpointStore(store.directory).load()
    assert listing(store.directory) == before


def test_a_file_that_several_checkpoints_share_damages_them_all(original, tmp_path):
    folder = tmp_path / "linked"
    shutil.copytree(original, folder)
    paths = sorted(folder.glob("step-*/frozen.safetensors"))
    paths[1].unlink()
    paths[1].hardlink_to(paths[0])
    paths[0].write_bytes(flip(paths[0].read_bytes(), 200, 300))
    before = listing(folder)
    with pytest.raises(DamagedCheckpointError):
        CheckpointStore(folder).load()
    assert listing(folder) == before
    assert CheckpointStore(folder).load(NEWEST, only=["note"]).keys() == {"note"}


def test_a_damaged_file_is_not_taken_over_by_the_next_checkpoint(store):
    path = store.directory / NEWEST / "frozen.safetensors"
    path.write_bytes(flip(path.read_bytes(), 200, 300))
    with store:
        with pytest.warns(RuntimeWarning, match="set aside"):
            store.load()
        assert store.verify(store.save(TREE, step=3)) == []


def test_a_file_that_is_gone_or_too_much_is_told(store):
    (store.directory / NEWEST / "frozen.safetensors").unlink()
    (store.directory / NEWEST / "more.bin").write_bytes(b"x")
    assert [problem.split(" ", 1)[1] for problem in store.verify(NEWEST)] == [
        "cannot be read: No such file or directory",
        "has a file 'more.bin' that no manifest lists",
    ]


class Unreadable(Disk):
    """Files of a kind cannot be read for a while."""

    def __init__(self, file, number):
        self.file, self.number = file, number

    def open(self, path):
        if path.name == self.file and path.parent.name == NEWEST:
            raise OSError(self.number, os.strerror(self.number), str(path))
        return super().open(path)


@pytest.mark.parametrize("file", ["manifest.json", "state.json", "weights.safetensors"])
@pytest.mark.parametrize("error", [errno.EMFILE, errno.EACCES, errno.ESTALE, errno.ENOMEM])
def test_what_cannot_be_read_for_now_is_not_taken_for_damaged(store, error, file):
    before = sorted(path.name for path in store.directory.iterdir())
    with pytest.raises(OSError, match=re.escape(os.strerror(error))):
        CheckpointStore(store.directory, disk=Unreadable(file, error)).load()
    assert sorted(path.name for path in store.directory.iterdir()) == before
    with pytest.warns(RuntimeWarning, match=r"set aside.* step-00000001 is used instead"):
        CheckpointStore(store.directory, disk=Unreadable(file, errno.EIO)).load()


def test_a_checkpoint_of_a_later_version_is_an_error_and_stays(store):
    forge(store, lambda content: content["summary"].update(format=2))
    with pytest.raises(FileFormatError, match=r"has format 2, and this version .* later version"):
        store.load()
    assert (store.directory / NEWEST).is_dir()
    assert store.load("step-00000001") is not None


# ---- files that were made to do harm -------------------------------------------------------------


def forge(store, change):
    """Change the manifest of the newest checkpoint, and give it a digest that fits."""
    path = store.directory / NEWEST / "manifest.json"
    content = json.loads(path.read_bytes())
    del content["digest"]
    change(content)
    summary = json.dumps(content["summary"], separators=(",", ":")).encode()
    content["seal"] = digest_of(summary)
    body = json.dumps(content, separators=(",", ":")).encode()[:-1]
    path.write_bytes(body + b',"digest":"' + digest_of(body).encode() + b'"}\n')


def tensor(content, name="f4"):
    return content["files"]["weights.safetensors"]["tensors"][name]


FORGERIES = {
    "format of the past": lambda c: c["summary"].update(format=0),
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
    """Makes a folder in the current one when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("was-executed",)


HOSTILE = {
    "pickle": pickle.dumps(Harmful()),
    "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "twice": b'{"weights":1,"weights":2}',
    "constants": b'{"a":NaN}',
    "marks": b'{"a":{"$array":"weights/none"}}',
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_state_with_a_right_digest_is_refused(store, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
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
    assert os.listdir(tmp_path) == ["store"]  # noqa: PTH208 - nothing was executed


@pytest.mark.parametrize("file", FILES)
def test_a_pickle_in_place_of_a_file_is_refused(store, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (store.directory / NEWEST / file).write_bytes(HOSTILE["pickle"])
    with pytest.raises(DamagedCheckpointError):
        store.load(NEWEST)
    assert os.listdir(tmp_path) == ["store"]  # noqa: PTH208 - nothing was executed
    pickle.loads(HOSTILE["pickle"])
    assert (tmp_path / "was-executed").exists()  # as it would have been


def test_a_pickle_with_a_right_digest_is_bytes_of_arrays_and_nothing_else(
    store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = store.directory / NEWEST / "weights.safetensors"
    data = HOSTILE["pickle"] + bytes(path.stat().st_size - len(HOSTILE["pickle"]))
    path.write_bytes(data)

    def change(content):
        entry = content["files"]["weights.safetensors"]
        entry["digest"] = digest_of(data)
        for each in entry["tensors"].values():
            each["digest"] = digest_of(data[slice(*each["bytes"])])

    forge(store, change)
    assert not store.load(NEWEST)["weights"]["f4"].any()
    assert os.listdir(tmp_path) == ["store"]  # noqa: PTH208 - nothing was executed


VALUES = [None, True, -1, 2**70, 10**400, 1.5, "x", "weights/f4", [], {}, [[]], {"$array": []}]


def places_in(node, path=()):
    """Yield the path of everything in nested JSON."""
    if path:
        yield path
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places_in(value, (*path, key))


def put(content, path, value):
    *above, key = path
    for each in above:
        content = content[each]
    content[key] = value


def test_any_value_anywhere_in_a_manifest_is_read_or_refused(store):
    path = store.directory / NEWEST / "manifest.json"
    data = path.read_bytes()
    content = json.loads(data)
    del content["digest"]
    for place in places_in(content):
        for value in VALUES:
            path.write_bytes(data)
            forge(store, lambda content: put(content, place, value))  # noqa: B023 - called at once
            for only in ((), ("weights", "note")):
                try:
                    CheckpointStore(store.directory).checkpoints()
                    store.load(NEWEST, only=only)
                except FileFormatError:
                    continue
                except Exception as error:
                    error.add_note(f"{place} is {value!r}, only={only}")
                    raise


def test_any_value_anywhere_in_a_state_is_read_or_refused(store):
    path, manifest = (store.directory / NEWEST / name for name in ("state.json", "manifest.json"))
    data, sealed = path.read_bytes(), manifest.read_bytes()
    for place in places_in(json.loads(data)):
        for value in VALUES:
            content = json.loads(data)
            put(content, place, value)
            text = json.dumps(content).encode()
            path.write_bytes(text)
            manifest.write_bytes(sealed)
            entry = {"size": len(text), "digest": digest_of(text)}
            forge(store, lambda content: content["files"].update({"state.json": entry}))  # noqa: B023 - called at once
            try:
                store.load(NEWEST)
            except FileFormatError:
                continue
            except Exception as error:
                error.add_note(f"{place} is {value!r}")
                raise


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory, as Linux has them")
@pytest.mark.parametrize("file", FILES)
def test_a_file_beyond_memory_is_refused_before_it_is_read(store, file):
    os.truncate(store.directory / NEWEST / file, 64 * 2**30)  # a hole: no block of it is used
    script = (
        "import resource, sys, warnings\n"
        "from callboard.checkpoint import CheckpointStore\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))\n"
        "with warnings.catch_warnings(record=True) as told:\n"
        "    warnings.simplefilter('always')\n"
        "    tree = CheckpointStore(sys.argv[1]).load()\n"
        "print(tree['weights']['f4'][0, 0], len(told))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(store.directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "1.0 1\n", done.stderr


def put_link(path, secret):
    path.rename(secret)
    path.symlink_to(secret)


def put_pipe(path, secret):
    path.unlink()
    os.mkfifo(path)  # an open() of it would wait for ever


def put_folder(path, secret):
    path.unlink()
    path.mkdir()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes of Unix")
@pytest.mark.parametrize("put_there", [put_link, put_pipe, put_folder])
@pytest.mark.parametrize("file", FILES)
def test_only_files_are_read(store, tmp_path, file, put_there):
    # Although what a link leads to is right.
    put_there(store.directory / NEWEST / file, tmp_path / "secret")
    assert store.verify(NEWEST)
    with pytest.raises(DamagedCheckpointError):
        store.load(NEWEST)
    with store:
        with pytest.warns(RuntimeWarning, match="step-00000001 is used instead"):
            assert is_tree_of(store.load(), 1)
        store.save(TREE, step=3)
        assert [c.step for c in store.checkpoints()] == [1, 3]
        if put_there is not put_folder:
            assert len(store.remove_damaged()) == 1
    assert (tmp_path / "secret").exists() == (put_there is put_link)


@pytest.mark.parametrize(
    "name", ["../outside", "/", "..", ".", "", "step-00000001/../../outside", "step-00000001/.."]
)
def test_a_name_that_leads_elsewhere_is_no_checkpoint(store, name):
    top = store.directory.parent
    shutil.copytree(store.directory / NEWEST, top / "outside")
    for path in (store.directory / NEWEST).iterdir():
        for folder in (top, store.directory):
            shutil.copy(path, folder / path.name)
    before = listing(top)
    for act in (store.load, store.verify):
        with pytest.raises(NoCheckpointError, match="there is no checkpoint"):
            act(name)
    assert listing(top) == before


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links of Unix")
def test_a_link_in_place_of_a_checkpoint_is_none(store, tmp_path):
    real = tmp_path / "elsewhere"
    (store.directory / NEWEST).rename(real)
    (store.directory / NEWEST).symlink_to(real)
    with pytest.warns(RuntimeWarning, match="is used instead"):
        assert store.load()["weights"]["f4"][0, 0] == 1
    assert real.is_dir()
    store.close()
