"""Versions of a set side by side: switched in one step, never taken from under a process that uses them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import jsonschema
import pytest
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.wiring.in_use import in_use
from kata_toolkit.wiring.versions import install, installed, prune, rollback
from wiring_parts import make_set

IMAGE = "share/kata-containers/toy.img"


def version(folder: Path, text: str, prefix: str = "/opt/toy") -> BuiltSet:
    """A set whose files say which version it is; its program runs."""
    files = {IMAGE: text.encode() * 1000, "bin/kata-toy": Path("/bin/sleep").read_bytes(), "share/toy/v": text.encode()}
    return BuiltSet.load(make_set(folder, files, prefix))


@pytest.fixture
def three(tmp_path: Path) -> list[BuiltSet]:
    return [version(tmp_path / name, name) for name in ("one", "two", "three")]


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return tmp_path / "system"


def says(system: Path) -> str:
    return (system / "opt/toy/share/toy/v").read_text()


@pytest.fixture
def proc(tmp_path: Path) -> Callable[[], Path]:
    """The processes that we may look into; a container may hold others, which would keep every version."""

    def view() -> Path:
        folder = tmp_path / "proc"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and os.access(entry / "fd", os.R_OK):
                (folder / entry.name).symlink_to(entry)
                if in_use(tmp_path, _only(folder, entry.name)).unseen:
                    (folder / entry.name).unlink()
        return folder

    return view


def _only(folder: Path, name: str) -> Path:
    """A /proc with one process."""
    one = folder.with_name("proc-one")
    shutil.rmtree(one, ignore_errors=True)
    one.mkdir()
    (one / name).symlink_to(Path("/proc") / name)
    return one


@contextmanager
def running(*words: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def holding(how: str, file: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A process that uses a file in one of the ways there are."""
    programs = {
        "open": "import sys, time; f = open(sys.argv[1]); print('ready', flush=True); time.sleep(60)",
        "mapped": (
            "import mmap, os, sys, time; f = open(sys.argv[1]); m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ);"
            "f.close(); os.closerange(3, 99); print('ready', flush=True); time.sleep(60)"
        ),
        "folder": (
            "import os, sys, time; os.chdir(os.path.dirname(sys.argv[1])); print('ready', flush=True); time.sleep(60)"
        ),
    }
    return running(sys.executable, "-c", programs[how], file)


def wait_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


def test_a_version_is_installed_switched_to_and_rolled_back(three: list[BuiltSet], system: Path) -> None:
    first = install(three[0], system)
    assert (system / "opt/toy").readlink() == Path("toy.versions") / first.active  # relative: good in a DESTDIR
    assert says(system) == "one"
    assert (first.before, first.changed) == (None, True)
    second = install(three[1], system)
    assert says(system) == "two"
    assert second.before == first.active
    assert not install(three[1], system).changed
    back = rollback(three[1], system)
    assert says(system) == "one"
    assert (back.active, back.before) == (first.active, None)
    assert set(back.versions) == {first.active, second.active}  # it stays, for who still uses it
    with pytest.raises(InputError, match="no earlier version"):
        rollback(three[1], system)
    assert install(three[1], system).changed
    assert says(system) == "two"
    install(three[2], system)
    assert rollback(three[0], system).active == second.active
    assert rollback(three[0], system).active == first.active


def test_files_come_with_their_modes_whatever_the_umask(three: list[BuiltSet], system: Path) -> None:
    before = os.umask(0o077)
    try:
        install(three[0], system)
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o7777) for path in (system / "opt/toy/").rglob("*") if path.is_file()} == {
        "0o644",
        "0o755",
    }
    assert (system / "opt/toy/share").stat().st_mode & 0o7777 == 0o755
    assert BuiltSet.load(system / "opt/toy").manifest == three[0].manifest  # it is a set again


@pytest.mark.parametrize("how", ["open", "mapped", "folder"])
def test_a_version_in_use_survives_switching_and_pruning(
    three: list[BuiltSet], system: Path, proc: Callable[[], Path], how: str
) -> None:
    """A pod that runs keeps its image open, as QEMU does, through the link that later leads elsewhere."""
    old = install(three[0], system).active
    with holding(how, system / "opt/toy" / IMAGE) as process:
        wait_ready(process)
        install(three[1], system)
        install(three[2], system)
        kept = prune(three[2], system, proc())
        assert old in kept.versions
        assert [user.pid for user in kept.kept[old].users] == [process.pid]
        assert process.poll() is None
        assert not kept.removed
    gone = prune(three[2], system, proc())
    assert gone.removed == (old,)
    assert says(system) == "three"


def test_a_program_that_runs_from_a_version_keeps_it(
    three: list[BuiltSet], system: Path, proc: Callable[[], Path]
) -> None:
    old = install(three[0], system).active
    with running(system / "opt/toy/bin/kata-toy", "60") as process:
        install(three[1], system)
        install(three[2], system)
        deadline = time.monotonic() + 5
        while not (found := in_use(system / "opt/toy.versions" / old).users) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [user.pid for user in found] == [process.pid]
        assert found[0].command == "kata-toy"
        assert prune(three[0], system, proc()).removed == ()
    assert prune(three[0], system, proc()).removed == (old,)


def test_pruning_keeps_the_active_version_and_the_one_before(
    three: list[BuiltSet], system: Path, proc: Callable[[], Path]
) -> None:
    ids = [install(one, system).active for one in three]
    assert prune(three[0], system, proc()).removed == (ids[0],)
    assert set(prune(three[0], system, proc()).versions) == set(ids[1:])
    assert rollback(three[0], system).active == ids[1]


def test_processes_that_cannot_be_looked_into_keep_every_version(
    three: list[BuiltSet], system: Path, tmp_path: Path, root: Path
) -> None:
    """As an ordinary user: who knows what the others have open."""
    if os.geteuid() != 0:
        pytest.skip("only root has processes that others cannot look into at hand")
    for one in three:
        install(one, system)
    for path in (*tmp_path.parents, tmp_path):
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    for path in [system, *system.rglob("*")]:
        os.chown(path, 65534, 65534, follow_symlinks=False)
    code = (
        "import sys; from pathlib import Path; from kata_toolkit.vm.built_set import BuiltSet;"
        "from kata_toolkit.wiring.versions import prune;"
        "found = prune(BuiltSet.load(Path(sys.argv[1])), Path(sys.argv[2]));"
        "print(len(found.removed), min(used.unseen for used in found.kept.values()) > 0)"
    )
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-B", "-c", code]
    done = subprocess.run([*words, three[0].folder, system], capture_output=True, text=True, check=False, cwd=root)
    assert done.stdout == "0 True\n", done.stderr


def test_a_killed_installation_leaves_nothing_behind(three: list[BuiltSet], system: Path) -> None:
    install(three[0], system)
    left = system / "opt/toy.versions/.staging-abcd"
    shutil.copytree(three[1].folder, left)
    assert left.name not in installed(three[0], system).versions
    install(three[1], system)
    assert not left.exists()


def test_installing_again_repairs_what_was_damaged(three: list[BuiltSet], system: Path) -> None:
    install(three[0], system)
    image = (system / "opt/toy" / IMAGE).resolve()
    before = image.read_bytes()
    assert not install(three[0], system).changed
    with image.open("rb") as running:
        image.chmod(0o600)
        image.write_bytes(b"evil")
        assert install(three[0], system).changed
        assert image.read_bytes() == before
        assert stat.S_IMODE(image.stat().st_mode) == 0o644
        assert running.read() == b"evil"  # whoever has it open keeps what it has
    image.unlink()
    assert install(three[0], system).changed
    assert image.read_bytes() == before
    assert not install(three[0], system).changed
    assert not list((system / "opt/toy.versions").glob(".staging*"))


def test_a_file_that_is_not_what_the_manifest_says_is_refused(three: list[BuiltSet], system: Path) -> None:
    install(three[0], system)
    (three[1].folder / IMAGE).write_bytes(b"evil")
    with pytest.raises(InputError, match="not what the manifest says"):
        install(three[1], system)
    (three[1].folder / IMAGE).unlink()
    with pytest.raises(InputError, match="is missing"):
        install(three[1], system)
    assert says(system) == "one"
    assert len(installed(three[0], system).versions) == 1
    assert not list((system / "opt/toy.versions").glob(".staging*"))


@pytest.mark.parametrize(
    "prefix", ["/", "/usr", "/usr/local", "/usr/local/", "/opt", "opt/toy", "/opt/../etc", "", None, 5]
)
def test_a_prefix_that_cannot_be_a_link_is_refused(tmp_path: Path, system: Path, prefix: str) -> None:
    built = version(tmp_path / "set", "x", prefix)
    for act in (install, rollback, prune, installed):
        with pytest.raises(InputError, match="prefix"):
            act(built, system)
    assert not system.exists()


def test_what_somebody_else_put_at_the_prefix_stays(three: list[BuiltSet], system: Path) -> None:
    place = system / "opt/toy"
    place.mkdir(parents=True)
    (place / "mine").write_text("x")
    with pytest.raises(InputError, match="is no link to a version"):
        install(three[0], system)
    assert (place / "mine").read_text() == "x"
    shutil.rmtree(place)
    place.symlink_to("/elsewhere")
    with pytest.raises(InputError, match="not to a version"):
        install(three[0], system)
    assert place.readlink() == Path("/elsewhere")


def test_nothing_installed_is_told(three: list[BuiltSet], system: Path) -> None:
    with pytest.raises(InputError, match="nothing is installed"):
        installed(three[0], system)
    with pytest.raises(InputError, match="no earlier"):
        rollback(three[0], system)
    with pytest.raises(InputError, match="nothing is installed"):
        prune(three[0], system)


def test_a_place_that_cannot_be_written_is_told(three: list[BuiltSet], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError):
        install(three[0], tmp_path / "file")


def test_a_partial_set_is_refused(tmp_path: Path, system: Path) -> None:
    folder = version(tmp_path / "set", "x").folder
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "partial": True}))
    with pytest.raises(InputError, match="partial"):
        install(BuiltSet.load(folder), system)


def test_a_lost_history_is_no_end(three: list[BuiltSet], system: Path) -> None:
    for one in three:
        install(one, system)
    (system / "opt/toy.versions/history").unlink()
    assert installed(three[2], system).before is None
    with pytest.raises(InputError, match="no earlier"):
        rollback(three[2], system)
    assert says(system) == "three"


def test_the_verb(tool: Path, root: Path, three: list[BuiltSet], system: Path) -> None:
    schema = json.loads((root / "schemas/install.schema.json").read_text())

    def cli(*words: str | Path, status: int = 0) -> str:
        done = subprocess.run([tool, "install", *words, "--root", system], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    for one in three:
        jsonschema.validate(json.loads(cli(one.folder, "--json")), schema)
    with holding("open", system / "opt/toy.versions" / installed(three[0], system).before / IMAGE) as process:
        wait_ready(process)
        found = json.loads(cli(system / "opt/toy", "--prune", "--json"))
        jsonschema.validate(found, schema)
        oldest = [user["pid"] for kept in found["kept"] for user in kept["users"]]
        assert found["removed"] or all(kept["unseen"] for kept in found["kept"])
        assert process.pid not in oldest  # it uses the version before, which no pruning asks about
    assert cli(system / "opt/toy", "--status").count("active") == 1
    cli(three[0].folder, "--rollback")
    assert says(system) == "two"
    cli(three[0].folder, "--rollback", "--prune", status=2)
    cli(three[0].folder / "none", status=2)
    cli(status=2)


@pytest.mark.vm
def test_a_guest_runs_on_from_a_version_that_is_no_longer_active(
    tool: Path, built_set: Path, tmp_path: Path, system: Path, proc: Callable[[], Path]
) -> None:
    """What it has not read yet comes from the old image still, though the prefix leads elsewhere."""
    folder = tmp_path / "set"
    subprocess.run(["cp", "-r", "--sparse=always", built_set, folder], check=True)
    manifest = json.loads((folder / "manifest.json").read_text())

    def install_version(number: int) -> str:
        (folder / "manifest.json").write_text(json.dumps({**manifest, "prefix": "/opt/toy", "number": number}))
        return install(BuiltSet.load(folder), system).active

    old = install_version(0)
    argv = [tool, "boot", system / "opt/toy", "--run", "sh", "-c", "echo ready; read go; sha256sum /bin/busybox"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as guest:
        assert guest.stdout is not None
        assert guest.stdout.readline() == b"ready\n"
        install_version(1)
        install_version(2)
        kept = prune(BuiltSet.load(folder), system, proc())
        assert any(user.command.startswith("qemu-system") for user in kept.kept[old].users)
        out, err = guest.communicate(b"go\n", timeout=60)
    assert guest.returncode == 0, err
    assert len(out.split()[0]) == 64
    assert prune(BuiltSet.load(folder), system, proc()).removed == (old,)
