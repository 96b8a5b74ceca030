import ast
import os
import stat
import subprocess
import sys
import types
from pathlib import Path

import pytest

from callboard._core import fs


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
    monkeypatch.setattr(fs.os, "urandom", bytes)
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
    monkeypatch.setattr(fs, "sys", types.SimpleNamespace(platform="darwin"))
    write(tmp_path / "file", b"x")
    assert calls == [51]


# ---- one layer -----------------------------------------------------------------------------------

SOURCES = Path(fs.__file__).parent.parent
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
    if owner == "_disk":  # of fs.py
        return
    if (owner, method.attr) in CHANGES:
        yield f"{owner}.{method.attr}"
    elif method.attr in METHODS and not (method.attr == "replace" and len(call.args) == 2):
        yield f".{method.attr}"
    elif method.attr == "open" and owner not in ("fs", "os") and call.args:
        mode = call.args[0]
        if isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax+"):
            yield ".open for writing"


def test_nothing_else_changes_files():
    found = {
        (str(path.relative_to(SOURCES)), call)
        for path in SOURCES.rglob("*.py")
        if path.name != "fs.py"
        for call in changes_of_files(path)
    }
    assert found - OTHERS == set()
    assert len(list(changes_of_files(SOURCES / "_core" / "fs.py"))) > 10  # it sees such calls
