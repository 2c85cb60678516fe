"""Templates: clones answer, and have nothing in common that they must not; bad input; nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jsonschema
import pytest
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.vm import memory_files, template
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.oci import Process
from kata_toolkit.vm.options import Options
from kata_toolkit.vm.pool import Pool
from kata_toolkit.vm.session import Session
from kata_toolkit.vm.template import Template
from vm_guests import altered_set

_CARD = """
for i in $(seq 30); do
    cat /sys/class/net/eth0/address 2>/dev/null && exit
    sleep 0.1
done
"""


@pytest.fixture(scope="module")
def made(built_set: Path) -> Iterator[Template]:
    """A template of the quickstart, on the tmpfs."""
    with template.temporary(BuiltSet.load(built_set), Options(accel="tcg", tb_mib=16)) as found:
        yield found


def said(session: Session, script: str) -> str:
    done = session.run(("sh", "-c", script))
    assert done.status == 0, done.stderr
    return done.stdout.decode()


@pytest.mark.vm
def test_clones_share_nothing_that_they_write_and_nothing_random(made: Template) -> None:
    with made.clone() as one, made.clone() as two:
        before = time.time()
        answers = [said(guest, "head -c 16 /dev/urandom | od -An -tx1; date +%s") for guest in (one, two)]
        after = time.time()
        randoms, clocks = zip(*(answer.rsplit(maxsplit=1) for answer in answers), strict=True)
        assert len(set(randoms)) == 2
        assert all(before - 1 <= int(clock) <= after + 1 for clock in clocks), answers
        # Containers of both write to their guest's memory; neither sees the other's.
        writer = one.agent.create_container(_writing("one"))
        other = two.agent.create_container(_writing("two"))
        for container, text in ((writer, b"one\n"), (other, b"two\n")):
            assert container.start().communicate().stdout == text
        uuids = {words[words.index("-uuid") + 1] for words in (one.vmm.argv, two.vmm.argv)}
        assert len(uuids) == 2
        assert one.power_off().clean
        assert said(two, "echo still here") == "still here\n"


def _writing(text: str) -> object:
    from kata_toolkit.vm.oci import container_spec

    script = f"echo {text} >> /dev/shm/written; sleep 0.2; cat /dev/shm/written"
    return container_spec(Process(("sh", "-c", script)))


@pytest.mark.vm
def test_network_cards_of_clones_have_addresses_of_their_own(made: Template) -> None:
    seen = []
    for number in (1, 2):
        with made.clone() as guest:
            mac = f"02:00:00:00:00:{number:02x}"
            guest.vmm.qmp.execute("netdev_add", type="hubport", id="net0", hubid=0)
            guest.vmm.qmp.execute("device_add", driver="virtio-net-pci", id="card0", netdev="net0", mac=mac,
                                  bus="pci-bridge-0", addr="1", romfile="")  # fmt: skip
            seen.append(said(guest, _CARD))
            assert seen[-1].strip() == mac
    assert len(set(seen)) == 2


@pytest.mark.vm
def test_a_clone_is_ready_in_a_fraction_of_a_boot(made: Template) -> None:
    # The figure itself is of `density`: here hosts may be busy.
    begin = time.monotonic()
    made.clone().close()
    assert time.monotonic() - begin < made.seconds_to_agent / 2


@pytest.mark.vm
def test_a_pool_hands_out_guests_that_wait(made: Template) -> None:
    with Pool(2, made.clone) as pool:
        assert (pool.refill(), len(pool)) == (2, 2)
        begin = time.monotonic()
        taken = pool.take()
        seconds = time.monotonic() - begin
        with taken:
            assert said(taken, "echo ready") == "ready\n"
        assert seconds < made.seconds_to_agent / 4
        # One that died is passed over, and a new one made when there is none.
        pool._ready[0].vmm.kill()
        with pool.take() as fresh:
            assert said(fresh, "echo new") == "new\n"
        assert len(pool) == 0
        assert pool.refill(1) == 1
        waiting = pool._ready[0].vmm
    assert waiting.status() is not None


@pytest.mark.vm
def test_the_verbs(tool: Path, built_set: Path, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here, with a comma"
    done = _run(tool, "template", "create", built_set, "-o", folder, "--accel", "tcg", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    schema = json.loads((root / "schemas" / "template.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert sorted(path.name for path in folder.iterdir()) == ["memory", "state", "template.json"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir() if path.name != "template.json")
    done = _run(tool, "boot", folder, "--run", "sh", "-c", "echo cloned; exit 7")
    assert (done.returncode, done.stdout) == (7, "cloned\n")
    for words in (["--memory", "300"], ["--accel", "tcg"], ["--vcpus", "2"], ["--debug-shell"], ["--machine", "q35"]):
        done = _run(tool, "boot", folder, *words)
        assert done.returncode == 2
        assert words[0] in done.stderr
    assert _run(tool, "template", "remove", folder).returncode == 0
    assert not folder.exists()


@pytest.mark.vm
def test_what_a_state_cannot_be_restored_from_is_told(made: Template, tmp_path: Path) -> None:
    copy = tmp_path / "broken"
    shutil.copytree(made.folder, copy)
    state = copy / "state"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ToolError):
        Template.load(copy).clone(timeout_seconds=5)


@pytest.mark.vm
def test_without_privilege_and_without_a_word(
    tool: Path, built_set: Path, unprivileged: Callable[[Sequence[str | Path]], list[str]]
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        argv = unprivileged([tool, *words])
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment, check=False)

    done = run("template", "create", built_set, "--accel", "tcg", "--json")
    assert done.returncode == 0, done.stderr
    folder = Path(json.loads(done.stdout)["folder"])
    try:
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        assert run("boot", folder, "--run", "echo", "cloned").stdout == "cloned\n"
    finally:
        assert run("template", "remove", folder).returncode == 0


def _run(tool: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool, *words], capture_output=True, text=True, timeout=60, check=False)


# ---- without a guest ----


def record(folder: Path, built: Path, **changed: object) -> Path:
    """A template's folder with no guest in it."""
    folder.mkdir()
    settings = dict.fromkeys(("accel", "memory_mib", "vcpus", "rootfs_driver", "machine", "tb_mib"))
    said = {"version": 1, "set": str(built), "manifest_sha256": template._digest(built), "seconds_to_agent": 1.0,
            "settings": {**settings, "accel": "tcg", "memory_mib": 256}}  # fmt: skip
    (folder / "template.json").write_text(json.dumps({**said, **changed}))
    for name in ("memory", "state"):
        (folder / name).write_bytes(b"x")
    return folder


def test_a_sound_record_is_read(built_set: Path, tmp_path: Path) -> None:
    found = Template.load(record(tmp_path / "t", built_set))
    assert (found.accel, found.settings["memory_mib"]) == ("tcg", 256)
    template.remove(found.folder)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"version": 2}, "another version"), ({"version": None}, "another version"),
        ({"set": "/nowhere"}, "not the one"), ({"manifest_sha256": "0" * 64}, "not the one"),
        ({"settings": {}}, "damaged"), ({"settings": None}, "damaged"), ({"settings": []}, "damaged"),
        ({"set": 7}, "damaged"), ({"seconds_to_agent": "soon"}, "damaged"), ({"seconds_to_agent": None}, "damaged"),
    ],
)  # fmt: skip
def test_a_record_that_does_not_hold(built_set: Path, tmp_path: Path, changed: dict[str, object], why: str) -> None:
    folder = record(tmp_path / "t", built_set, **changed)
    with pytest.raises(InputError, match=why):
        Template.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\xff", '{"version": 1}'])
def test_a_record_that_is_none(built_set: Path, tmp_path: Path, text: str) -> None:
    folder = record(tmp_path / "t", built_set)
    (folder / "template.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="no template"):
        Template.load(folder)


@pytest.mark.parametrize("name", ["memory", "state", "template.json"])
def test_a_file_that_lacks(built_set: Path, tmp_path: Path, name: str) -> None:
    folder = record(tmp_path / "t", built_set)
    (folder / name).unlink()
    with pytest.raises(InputError):
        Template.load(folder)


def test_a_set_that_was_built_anew(built_set: Path, tmp_path: Path) -> None:
    copy = altered_set(built_set, tmp_path / "set")
    folder = record(tmp_path / "t", copy)
    Template.load(folder)
    (copy / "manifest.json").write_text((copy / "manifest.json").read_text() + "\n")
    with pytest.raises(InputError, match="not the one"):
        Template.load(folder)


def test_only_templates_are_removed(built_set: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no template"):
        template.remove(tmp_path)
    folder = record(tmp_path / "t", built_set)
    (folder / "mine").touch()
    with pytest.raises(InputError, match="mine"):
        template.remove(folder)
    assert (folder / "memory").exists()


def test_somebody_elses_folder_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for name in ("file", "full"):
        with pytest.raises(InputError, match="no template"):
            memory_files.require_place(tmp_path / name, "template.json", 1, lambda text: None)
    with pytest.raises(InputError):
        memory_files.require_place(tmp_path / "file" / "below", "template.json", 1, lambda text: None)
    with pytest.raises(ToolError, match="MiB free"):
        memory_files.require_place(tmp_path / "new", "template.json", 1 << 40, lambda text: None)


def test_a_disk_is_told_and_a_tmpfs_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(memory_files, "on_tmpfs", lambda folder: False)
    memory_files.require_place(tmp_path / "t", "template.json", 1, notes.append)
    assert "disk" in notes[0]
    monkeypatch.undo()
    assert memory_files.on_tmpfs(Path("/dev/shm"))
    assert not memory_files.on_tmpfs(Path("/proc"))


def test_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_files, "tmpfs", lambda: tmp_path)
    folder = memory_files.own_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(ToolError, match="another user"):
        memory_files.own_folder()
    folder.rmdir()
    folder.symlink_to("/etc")
    with pytest.raises(ToolError):
        memory_files.own_folder()


def test_half_a_template_never_takes_the_place(tmp_path: Path) -> None:
    def interrupted() -> None:
        with memory_files.beside(tmp_path / "t") as work:
            (work / "memory").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
