import array
import ast
import errno
import mmap
import os
import re
import stat
import subprocess
import sys
import types
from itertools import pairwise
from pathlib import Path

import pytest

from callboard._core import fs
from callboard._core.fs import disk, durable, lock


def write(path, content):
    with fs.replacing(path) as file:
        file.write(content)


def names(folder):
    return [path.name for path in folder.iterdir()]


def write_then_fail(path):
    with fs.replacing(path) as file:
        file.write(b"half")
        raise RuntimeError("in the middle")


def test_the_new_content_replaces_the_old_and_parent_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write(path, b"old")
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file"]


def test_after_an_error_the_old_content_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    with pytest.raises(RuntimeError, match="in the middle"):
        write_then_fail(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_until_the_end_the_content_is_in_a_file_beside_it(tmp_path):
    path = tmp_path / "file"
    with fs.replacing(path) as file:
        assert Path(file.name).parent == tmp_path
        assert Path(file.name).name.startswith(".file.")
        assert not path.exists()


@pytest.fixture
def synced(monkeypatch):
    """What is synced, in order: names of files and folders, with what was at the target then."""
    record = []
    fsync = os.fsync

    def recording(descriptor):
        record.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    return record


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_is_synced_before_the_rename_and_the_folder_after_it(
    tmp_path, synced, monkeypatch
):
    renamed = []
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda a, b: (renamed.append(len(synced)), replace(a, b))[1]
    )
    write(tmp_path / "file", b"x")
    assert renamed == [1]
    assert synced[0].name.startswith(".file.")
    assert synced[1:] == [tmp_path]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_folders_that_are_made_are_synced_into_their_parents(tmp_path, synced):
    write(tmp_path / "a" / "b" / "file", b"x")
    assert synced[:2] == [tmp_path / "a", tmp_path]
    assert synced[-1] == tmp_path / "a" / "b"


def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "urandom", bytes)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / f".file.{os.getpid()}-00000000.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write(tmp_path / "file", b"x")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "file").exists()


def test_a_dangling_link_is_not_followed_either(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError):
        fs.create(tmp_path / "link")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_is_what_the_umask_leaves(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("name", ["x" * 255, "模型" * 42, "é" * 127])
def test_the_longest_names_there_are_can_be_written(tmp_path, name):
    write(tmp_path / name, b"x")
    assert (tmp_path / name).read_bytes() == b"x"


def test_appending_makes_the_file_and_its_folders_and_goes_on_at_the_end(tmp_path):
    path = tmp_path / "a" / "log"
    for content in (b"one", b"two"):
        with fs.append(path) as file:
            file.write(content)
            fs.sync(file)
            assert path.read_bytes().endswith(content)
    assert path.read_bytes() == b"onetwo"


def test_a_folder_is_no_file_to_write(tmp_path):
    with pytest.raises(IsADirectoryError, match="give the path of a file"):
        write(tmp_path, b"x")
    with pytest.raises(IsADirectoryError):
        fs.writable_file(tmp_path)


def test_a_path_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="nothing can be written below it"):
        fs.writable_file(tmp_path / "file" / "sub" / "model.pt")


def test_a_path_whose_folders_are_not_there_yet_can_be_written(tmp_path, monkeypatch):
    fs.writable_file(tmp_path / "a" / "b" / "model.pt")
    monkeypatch.chdir(tmp_path)
    fs.writable_file(Path("model.pt"))


@pytest.mark.skipif(os.name == "nt", reason="permission bits of Unix")
def test_a_folder_that_may_not_be_written_is_an_error_before_anything_is_done(tmp_path):
    # In a process of its own, as nobody: root may write everywhere.
    script = (
        "import os, pathlib\n"
        "from callboard._core import fs\n"
        "os.chdir('/')\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: fs.writable_file(pathlib.Path('/model.pt'))\n"
        "except PermissionError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert "may not be written, so 'model.pt' cannot be saved there: '/'" in done.stdout


def test_a_disk_that_is_full_is_an_error_and_the_old_file_is_whole(full_disk, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    said = full_disk(
        "from callboard._core import fs\n"
        "with fs.replacing(folder / 'file') as file:\n"
        "    file.write(b'x' * 100_000)\n"
    )
    assert said == "OSError 27"
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=r"so 'model\.pt' cannot be saved there"):
        fs.writable_file(tmp_path / "a" / "model.pt")


def test_on_macos_the_cache_of_the_drive_is_emptied_too(tmp_path, monkeypatch):
    calls = []
    fcntl = types.ModuleType("fcntl")
    fcntl.F_FULLFSYNC = 51
    fcntl.fcntl = lambda descriptor, command: calls.append(command)
    monkeypatch.setitem(sys.modules, "fcntl", fcntl)
    monkeypatch.setattr(durable, "sys", types.SimpleNamespace(platform="darwin"))
    write(tmp_path / "file", b"x")
    assert calls == [51]


# ---- the disk of a checkpoint store --------------------------------------------------------------

DISK = fs.Disk()
UNIX = pytest.mark.skipif(os.name == "nt", reason="links, pipes and locks of Unix")


def aligned(size):
    """Return memory that begins at a block, as writing past the cache wants it."""
    memory = memoryview(mmap.mmap(-1, max(size, 1)))[:size]
    memory[:] = bytes(at % 251 for at in range(size))
    return memory


def written(path, chunks, *, direct):
    file = DISK.create(path, direct=direct)
    try:
        for chunk in chunks:
            file.write(chunk)
        file.sync()
    finally:
        file.close()
    return path.read_bytes()


@pytest.mark.parametrize("direct", [False, True], ids=["cached", "direct"])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8192, 70_000])
def test_files_of_any_length_are_written(tmp_path, direct, size):
    data = aligned(size)
    assert written(tmp_path / "file", [data], direct=direct) == bytes(data)


@pytest.mark.parametrize("direct", [False, True], ids=["cached", "direct"])
@pytest.mark.parametrize("cuts", [[8192], [4096, 12_288], [4097, 8192], [1, 2, 3], [0, 0]])
def test_pieces_of_any_length_follow_one_another(tmp_path, direct, cuts):
    data = aligned(20_000)
    ends = [0, *cuts, 20_000]
    pieces = [data[begin:end] for begin, end in pairwise(ends)]
    assert written(tmp_path / "file", pieces, direct=direct) == bytes(data)


def test_memory_that_is_not_at_a_block_is_written_all_the_same(tmp_path):
    data = aligned(12_289)[1:]  # whole blocks of it, from the second byte on
    assert written(tmp_path / "file", [data], direct=True) == bytes(data)


def test_numbers_of_any_type_are_written_as_their_bytes(tmp_path):
    numbers = array.array("d", [1.0, 2.0])
    assert written(tmp_path / "file", [memoryview(numbers)], direct=False) == numbers.tobytes()


def test_a_file_system_without_direct_access_goes_without(tmp_path, monkeypatch):
    opened, real = [], os.open

    def refusing(path, flags, mode=0o777):
        opened.append(flags)
        if flags & disk._DIRECT:
            os.close(real(path, flags & ~disk._DIRECT, mode))  # some leave the empty file behind
            raise OSError(errno.EINVAL, "Invalid argument", str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(disk, "_DIRECT", 1 << 30)
    monkeypatch.setattr(os, "open", refusing)
    file = DISK.create(tmp_path / "file", direct=True)
    file.write(memoryview(b"content"))
    file.close()
    assert len(opened) == 2
    assert (tmp_path / "file").read_bytes() == b"content"


def test_another_error_than_that_is_told(tmp_path):
    with pytest.raises(FileNotFoundError) as told:
        DISK.create(tmp_path / "missing" / "file", direct=True)
    assert told.value.filename == str(tmp_path / "missing" / "file")


@UNIX
@pytest.mark.parametrize("direct", [False, True], ids=["cached", "direct"])
@pytest.mark.parametrize("there", ["file", "folder", "link", "dangling link", "pipe"])
def test_nothing_that_is_there_is_written_to(tmp_path, there, direct):
    path, victim = tmp_path / "x", tmp_path / "victim"
    victim.write_bytes(b"precious")
    {
        "file": path.touch,
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(victim),
        "dangling link": lambda: path.symlink_to(tmp_path / "nothing"),
        "pipe": lambda: os.mkfifo(path),
    }[there]()
    with pytest.raises(FileExistsError):
        DISK.create(path, direct=direct)
    assert victim.read_bytes() == b"precious"
    assert sorted(names(tmp_path)) == ["victim", "x"]


@UNIX
@pytest.mark.parametrize("there", ["nothing", "folder", "link", "pipe"])
def test_only_files_are_opened(tmp_path, there):
    path, victim = tmp_path / "x", tmp_path / "victim"
    victim.write_bytes(b"secret")
    {
        "nothing": lambda: None,
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(victim),
        "pipe": lambda: os.mkfifo(path),  # opening it would wait for a writer
    }[there]()
    with pytest.raises(OSError, match=re.escape(str(path))):
        DISK.open(path)


def test_a_file_that_is_opened_can_be_read_and_not_written(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with DISK.open(tmp_path / "file") as file:
        assert file.read() == b"content"
        assert not file.writable()
    assert DISK.size(tmp_path / "file") == 7


def test_names_are_those_of_all_there_is_in_order(tmp_path):
    for name in ("b", "a", ".c"):
        (tmp_path / name).touch()
    assert DISK.names(tmp_path) == [".c", "a", "b"]


@UNIX
def test_a_folder_that_is_a_link_to_nothing_is_an_error_that_says_so(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    for attempt in (fs.writable_file, fs.append, fs.create):
        with pytest.raises(
            FileNotFoundError, match=r"is a link to '.*scratch', which is not there"
        ):
            attempt(tmp_path / "link" / "runs" / "file")


@UNIX
def test_a_link_is_no_folder_and_its_size_is_its_own(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "large").write_bytes(bytes(5000))
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").symlink_to(tmp_path / "folder" / "large")
    assert DISK.is_folder(tmp_path / "folder")
    assert not DISK.is_folder(tmp_path / "link")
    assert not DISK.is_folder(tmp_path / "missing")
    assert DISK.size(tmp_path / "file") != 5000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_folders_are_made_durably_and_only_once(tmp_path, synced):
    DISK.make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path / "a", tmp_path]
    DISK.make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_a_rename_replaces_a_file_and_no_folder_with_something_in_it(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)
    DISK.rename(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with pytest.raises(OSError, match="one"):
        DISK.rename(tmp_path / "one", tmp_path / "two")
    assert sorted(names(tmp_path)) == ["old", "one", "two"]


@UNIX
def test_a_second_name_is_the_same_file_and_never_that_of_a_links_target(tmp_path):
    (tmp_path / "a").write_text("content")
    DISK.link(tmp_path / "a", tmp_path / "b")
    DISK.remove(tmp_path / "a")
    assert (tmp_path / "b").read_text() == "content"
    with pytest.raises(FileExistsError):
        DISK.link(tmp_path / "b", tmp_path / "b")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    DISK.link(tmp_path / "link", tmp_path / "c")
    assert (tmp_path / "c").is_symlink()


def test_a_folder_with_something_in_it_is_not_removed(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "a"))):
        DISK.remove_folder(tmp_path / "a")
    DISK.remove_folder(tmp_path / "a" / "b")
    DISK.remove_folder(tmp_path / "a")
    assert names(tmp_path) == []


# ---- errors name the path ------------------------------------------------------------------------


@pytest.fixture
def broken_sync(monkeypatch):
    """A disk that cannot write what is in its cache, as the system reports it: with no name."""

    def fsync(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)


@UNIX
def test_a_write_that_fails_names_the_file(tmp_path):
    file = DISK.create(tmp_path / "file")
    descriptor = file._descriptor
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor") as told:
        file.write(memoryview(b"x"))
    assert told.value.filename == str(tmp_path / "file")


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="they sync by other calls")
@pytest.mark.parametrize("what", ["file", "folder", "replaced file"])
def test_a_sync_that_fails_names_what_was_synced(tmp_path, broken_sync, what):
    acts = {
        "file": lambda: written(tmp_path / "new", [memoryview(b"x")], direct=False),
        "folder": lambda: DISK.sync_folder(tmp_path),
        "replaced file": lambda: write(tmp_path / "replaced", b"x"),
    }
    with pytest.raises(OSError, match="Input/output error") as told:
        acts[what]()
    assert str(told.value.filename).startswith(str(tmp_path))


# ---- locks ---------------------------------------------------------------------------------------

HOLD = """
import pathlib, sys
from callboard._core import fs
from callboard._core.fs import lock
lock._PATIENCE_S = float(sys.argv[2])
wait = lock._acquire
def acquire(locks, descriptor, path):
    print("opened", flush=True)
    wait(locks, descriptor, path)
lock._acquire = acquire
path = pathlib.Path(sys.argv[1])
try:
    with fs.Disk().locked(path):
        print("held", path.exists(), flush=True)
        sys.stdin.readline()
except BlockingIOError as error:
    print(error.strerror, error.filename, flush=True)
"""


@pytest.fixture
def locking():
    """Start processes that lock a file; each says what it did, and lets go at a line."""
    started = []

    def start(path, patience_s=0.0):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path), str(patience_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "opened\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process):
    """Return the next line that is not of one more attempt."""
    return next(line for line in process.stdout if line != "opened\n")


@UNIX
def test_a_lock_is_held_by_one_process_and_let_go_at_the_end(tmp_path, locking):
    first = locking(tmp_path / "lock")
    assert said(first) == "held True\n"
    second = locking(tmp_path / "lock")
    told = said(second)
    assert told.startswith("another process writes to this folder; end it, or use another folder")
    assert told.rstrip().endswith(str(tmp_path))
    first.communicate("\n")
    assert said(locking(tmp_path / "lock")) == "held True\n"


@UNIX
def test_a_killed_process_holds_no_lock(tmp_path, locking):
    first = locking(tmp_path / "lock")
    assert said(first) == "held True\n"
    first.kill()
    first.wait()
    assert said(locking(tmp_path / "lock")) == "held True\n"


@UNIX
def test_a_lock_is_waited_for_while_another_process_ends(tmp_path, locking):
    first = locking(tmp_path / "lock")
    assert said(first) == "held True\n"
    second = locking(tmp_path / "lock", patience_s=60)
    first.communicate("\n")
    assert said(second) == "held True\n"


@UNIX
def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path, locking):
    # Whoever clears a folder removes the file; a third process would make and lock another one.
    with DISK.locked(tmp_path / "lock"):
        second = locking(tmp_path / "lock", patience_s=60)
        (tmp_path / "lock").unlink()
    assert said(second) == "held True\n"


@UNIX
def test_after_an_error_the_lock_is_free(tmp_path, locking):
    with pytest.raises(RuntimeError, match="in the middle"), DISK.locked(tmp_path / "lock"):
        raise RuntimeError("in the middle")
    assert said(locking(tmp_path / "lock")) == "held True\n"


@UNIX
def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"), DISK.locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


@UNIX
def test_file_systems_without_locks_go_without(tmp_path, monkeypatch):
    import fcntl  # noqa: PLC0415 - exists on Unix only

    def refused(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refused)
    with DISK.locked(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()


@UNIX
def test_a_lock_file_that_cannot_be_opened_again_is_said_and_closed_once(tmp_path, monkeypatch):
    opened, closed, real = [], [], os.open

    def once(*arguments):
        if opened:
            raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "lock"))
        opened.append(real(*arguments))
        return opened[0]

    monkeypatch.setattr(lock, "_is_at", lambda *_: False)  # removed by its holder
    monkeypatch.setattr(os, "open", once)
    monkeypatch.setattr(os, "close", closed.append)
    with pytest.raises(PermissionError), DISK.locked(tmp_path / "lock"):
        pytest.fail("it is not held")
    monkeypatch.undo()
    assert closed == opened
    os.close(opened[0])


def test_systems_without_locks_go_without(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with DISK.locked(tmp_path / "lock"):
        assert not (tmp_path / "lock").exists()


# ---- one layer -----------------------------------------------------------------------------------

SOURCES = Path(fs.__file__).parents[2]
CHANGES = {
    ("os", name)
    for name in (
        "open",
        "write",
        "replace",
        "rename",
        "link",
        "unlink",
        "remove",
        "rmdir",
        "mkdir",
        "makedirs",
        "fsync",
        "fdatasync",
        "truncate",
        "ftruncate",
    )
} | {("shutil", name) for name in ("rmtree", "copy", "copyfile", "copytree", "move")}
METHODS = {
    "write_text",
    "write_bytes",
    "unlink",
    "rename",
    "replace",
    "mkdir",
    "rmdir",
    "touch",
    "symlink_to",
    "hardlink_to",
}
# A device for a broken pipe, and the folders of a test.
OTHERS = {("cli/__init__.py", "os.open"), ("testing.py", ".mkdir")}


def changes_of_files(path):
    """Yield the calls in a file that change files, or open one for writing."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == "open":
                yield "open"
            if isinstance(node.func, ast.Attribute):
                yield from change_of(node, node.func)


def change_of(call, method):
    owner = getattr(method.value, "id", getattr(method.value, "attr", ""))
    if owner in ("_disk", "disk"):  # of fs
        return
    if (owner, method.attr) in CHANGES:
        yield f"{owner}.{method.attr}"
    elif method.attr in METHODS and not (method.attr == "replace" and len(call.args) == 2):
        yield f".{method.attr}"
    elif method.attr == "open" and owner not in ("fs", "os") and call.args:
        mode = call.args[0]
        is_mode = isinstance(mode, ast.Constant) and len(str(mode.value)) <= 3
        if is_mode and set(str(mode.value)) & set("wax+"):
            yield ".open for writing"


def test_nothing_else_changes_files():
    found = {
        (str(path.relative_to(SOURCES)), call)
        for path in SOURCES.rglob("*.py")
        if path.parent != SOURCES / "_core" / "fs"
        for call in changes_of_files(path)
    }
    assert found - OTHERS == set()
    own = (SOURCES / "_core" / "fs").glob("*.py")
    assert sum(len(list(changes_of_files(path))) for path in own) > 10  # it sees such calls
