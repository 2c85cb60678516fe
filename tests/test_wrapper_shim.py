"""Which configuration a shim will read: each case of the table in docs/wrapper.md, with stand-ins for the shims."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from kata_toolkit.stages.wrapper import RuntimeConfig
from wrapper_harness import GO, RUST, Call, Install, Installed, read_record

pytest_plugins = ("wrapper_fixtures",)
pytestmark = pytest.mark.tool

DEFAULTS = "share/defaults/kata-containers"
CLH_GO = RuntimeConfig("clh", "go", f"{DEFAULTS}/configuration-clh.toml")
CLH_RUST = RuntimeConfig("clh", "rs", f"{DEFAULTS}/runtime-rs/configuration-clh-runtime-rs.toml")
ALL = (GO, RUST, CLH_GO, CLH_RUST)
CONTAINERD = ("-namespace", "k8s.io", "-address", "/run/containerd/containerd.sock", "-publish-binary", "/usr/bin/c")
CRIO = ("-namespace", "default", "-address", "", "-publish-binary", "", "-id", "abc")
NULL = b"(null device)"
OURS, ENV, NOTHING = "this set's", "KATA_CONF_FILE", "nothing"


def packed(number: int, content: bytes) -> bytes:
    length = len(content)
    size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([number << 3 | 2]) + size + content


def options(config: str | bytes = "", url: bytes = b"runtimeoptions.v1.Options") -> bytes:
    """What containerd writes: google.protobuf.Any around runtimeoptions.v1.Options."""
    inner = packed(1, b"io.containerd.toy.v2") + (packed(2, os.fsencode(config)) if config else b"")
    return packed(1, url) + packed(2, inner)


@dataclass(frozen=True)
class Case:
    """``told``: what ConfigPath names. ``ends``: an exit status of ours, or what KATA_CONF_FILE is for the shim."""

    kata: str
    caller: tuple[str, ...]
    name: str  # between containerd-shim- and -v2
    shims: str  # which are installed: g, r, or both
    told: str  # ours:FLAVOUR, other, none (options without), null, odd
    starts: str  # g, r
    variable: str = NOTHING  # the flavour that it names
    status: int = 0
    says: tuple[str, ...] = field(default=())


MANY = "containerd names no configuration"
CASES = {
    "4.x, Go, ConfigPath": Case("4.1", CONTAINERD, "toy", "gr", "ours:qemu", "g"),
    "4.x, Rust, ConfigPath": Case("4.1", CONTAINERD, "toy", "r", "ours:qemu-runtime-rs", "r"),
    "3.x, Go, ConfigPath": Case("3.21", CONTAINERD, "toy", "g", "ours:qemu", "g"),
    "3.x, Rust, ConfigPath": Case("3.21", CONTAINERD, "toy", "r", "ours:qemu-runtime-rs", "r"),
    "4.x, Go, a file of the user's": Case("4.1", CONTAINERD, "toy", "g", "other", "g"),
    "4.x, Rust, a file of the user's": Case("4.1", CONTAINERD, "toy", "r", "other", "r"),
    "3.x, Go, options without": Case("3.21", CONTAINERD, "toy", "g", "none", "g", "qemu"),
    "3.x, Go, no options": Case("3.21", CONTAINERD, "toy", "g", "null", "g", "qemu"),
    "3.x, Go, runc's options": Case("3.21", CONTAINERD, "toy", "g", "runc", "g", "qemu"),
    "3.x, Rust, options without": Case("3.21", CONTAINERD, "toy", "r", "none", "r", "qemu-runtime-rs"),
    "3.x, Rust, no options": Case("3.21", CONTAINERD, "toy", "r", "null", "r", "qemu-runtime-rs"),
    "3.x, Go, unreadable options": Case("3.21", CONTAINERD, "toy", "g", "odd", "g", "qemu"),
    "3.x, Rust, unreadable options": Case("3.21", CONTAINERD, "toy", "r", "odd", "r"),
    "4.x, Go, options without": Case("4.1", CONTAINERD, "toy", "g", "none", "", status=78, says=(MANY,)),
    "4.x, Go, no options": Case("4.1", CONTAINERD, "toy", "g", "null", "", status=78, says=(MANY, "ConfigPath = ")),
    "4.x, Rust, options without": Case("4.1", CONTAINERD, "toy", "r", "none", "", status=78, says=(MANY,)),
    "4.x, Rust, no options": Case("4.1", CONTAINERD, "toy", "r", "null", "", status=78, says=(MANY,)),
    "4.x, Go, runc's options": Case("4.1", CONTAINERD, "toy", "g", "runc", "", status=78, says=(MANY,)),
    "4.x, Go, unreadable options": Case("4.1", CONTAINERD, "toy", "g", "odd", "g"),
    "4.x, Rust, unreadable options": Case("4.1", CONTAINERD, "toy", "r", "odd", "r"),
    "CRI-O, 4.x, Go": Case("4.1", CRIO, "toy", "g", "null", "g"),
    "CRI-O, 4.x, Rust": Case("4.1", CRIO, "toy", "r", "null", "r"),
    "CRI-O, 3.x, Go": Case("3.21", CRIO, "toy", "g", "null", "g", "qemu"),
    "CRI-O, 3.x, Rust: may override its runtime_config_path": Case("3.21", CRIO, "toy", "r", "null", "r"),
    "by flavour, Go": Case("4.1", CONTAINERD, "toy-clh", "gr", "ours:clh", "g"),
    "by flavour, Rust": Case("4.1", CONTAINERD, "toy-clh-runtime-rs", "gr", "ours:clh-runtime-rs", "r"),
    "by flavour, 3.x, Go, no options": Case("3.21", CONTAINERD, "toy-clh", "gr", "null", "g", "clh"),
    "by flavour, 3.x, Rust, no options": Case(
        "3.21", CONTAINERD, "toy-clh-runtime-rs", "gr", "null", "r", "clh-runtime-rs"
    ),
    "by flavour, 4.x, no options": Case(
        "4.1", CONTAINERD, "toy-clh", "gr", "null", "", status=78, says=(MANY, "configuration-clh.toml")
    ),
    "the default name with another hypervisor's file": Case("4.1", CONTAINERD, "toy", "g", "ours:clh", "g"),
    "a flavour with another's file": Case(
        "4.1", CONTAINERD, "toy-clh", "g", "ours:qemu", "", status=78, says=("called for clh", "toy-qemu.v2")
    ),
    "a Rust file for the Go shim": Case(
        "4.1", CONTAINERD, "toy", "g", "ours:qemu-runtime-rs", "", status=78, says=("toy-qemu-runtime-rs.v2",)
    ),
    "a Go file for the Rust shim": Case(
        "4.1", CONTAINERD, "toy", "r", "ours:qemu", "", status=78, says=("does not understand", "toy-qemu.v2")
    ),
    "a flavour whose shim is missing": Case(
        "4.1", CONTAINERD, "toy-qemu-runtime-rs", "g", "ours:qemu-runtime-rs", "", status=127, says=("(Rust)",)
    ),
    "a flavour that the set lacks": Case(
        "4.1",
        CONTAINERD,
        "toy-fc",
        "gr",
        "null",
        "",
        status=78,
        says=("called as toy-fc", "qemu qemu-runtime-rs clh clh-runtime-rs"),
    ),
    "a link of the user's": Case("4.1", CONTAINERD, "mine", "g", "ours:qemu", "g"),
    "a link that ends in a flavour": Case("3.21", CONTAINERD, "mine-clh", "g", "null", "g", "clh"),
    "a link that is a flavour": Case("3.21", CONTAINERD, "clh-runtime-rs", "gr", "null", "r", "clh-runtime-rs"),
}
SHIMS = {"g": "bin/containerd-shim-kata-v2", "r": "runtime-rs/bin/containerd-shim-kata-v2"}
FLAVOURS = {config.flavour: config for config in ALL}


def start(it: Installed, case: Case, tmp_path: Path, action: tuple[str, ...] = ("-id", "abc", "start")) -> Call:
    for key in case.shims:
        it.put(it.prefix / SHIMS[key], {"g": it.go, "r": it.rust}[key])
    link = tmp_path / f"containerd-shim-{case.name}-v2"
    link.symlink_to(it.shim)
    kind, _, flavour = case.told.partition(":")
    stdin = {
        "ours": options(str(it.prefix / FLAVOURS[flavour].path)) if flavour else b"",
        "other": options("/etc/mine.toml"),
        "none": options(),
        "runc": options("/x", url=b"containerd.runc.v1.Options"),
        "odd": b"\x12\x00\xff",
        "null": NULL,
    }[kind]
    return call(it, link, (*case.caller, *action), stdin)


def call(it: Installed, program: Path, words: tuple[str, ...], stdin: bytes, **env: str) -> Call:
    """As ``Installed.call``, with /dev/null as stdin where there is nothing to say, as containerd has it."""

    record = it.root / "record"
    record.unlink(missing_ok=True)
    env = {"PATH": it.path, "RECORD": str(record), **env}
    given = {"stdin": subprocess.DEVNULL} if stdin == NULL else {"input": stdin}
    done = subprocess.run([program, *words], capture_output=True, env=env, check=False, timeout=20, **given)
    return Call(done.returncode, done.stdout.decode(), done.stderr.decode(), read_record(record))


@pytest.mark.parametrize("name", CASES)
def test_each_case(install: Install, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    it = install(kata=case.kata, configs=ALL)
    if Path("/opt/kata").exists():
        pytest.skip("a Kata is installed on this machine")
    done = start(it, case, tmp_path)
    assert done.status == case.status, done.stderr
    for words in case.says:
        assert words in done.stderr
    if case.status:
        assert done.record is None
        return
    assert done.argv == [os.fsencode(w) for w in (it.prefix / SHIMS[case.starts], *case.caller, "-id", "abc", "start")]
    assert (done.stdout, done.stderr) == ("", "")  # a manager reads the address from both
    expected = b"" if case.variable == NOTHING else os.fsencode(it.prefix / FLAVOURS[case.variable].path)
    assert done.env.get(b"KATA_CONF_FILE", b"") == expected


def test_the_options_arrive_at_the_shim(install: Install, tmp_path: Path) -> None:
    it = install(configs=ALL)
    done = start(it, CASES["4.x, Go, ConfigPath"], tmp_path)
    assert done.record is not None
    assert done.record["stdin"] == [options(str(it.prefix / GO.path))]
    assert sorted(done.record["fd"]) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("length", [1, 126, 127, 128, 129, 2000, 4095])
def test_paths_of_any_length_are_read(install: Install, length: int) -> None:
    it = install(configs=ALL)
    it.put(it.prefix / SHIMS["g"], it.go)
    done = call(it, it.shim, (*CONTAINERD, "start"), options("x" * length))
    assert done.status == 0, done.stderr
    assert b"KATA_CONF_FILE" not in done.env


@pytest.mark.parametrize(
    "broken",
    [
        b"\x0a",
        b"\x0a\x7f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",
        b"\x08\x01",
        b"\x02\x00",
        b"\xff" * 11,
        options("/x")[:-1],
        packed(1, b"runtimeoptions.v1.Options") + packed(2, b"\x12\x05/x"),
        options("y" * 4096),
        packed(1, b"0123abc") + packed(2, b"k8s.io"),
        b"\0" * 60_000,
    ],
)
def test_what_it_cannot_read_is_left_to_the_shim(install: Install, broken: bytes) -> None:
    it = install(configs=ALL)
    it.put(it.prefix / SHIMS["g"], it.go)
    done = call(it, it.shim, (*CONTAINERD, "start"), broken)
    assert done.status == 0, done.stderr
    assert done.record is not None
    assert done.record["stdin"] == [broken]
    assert b"KATA_CONF_FILE" not in done.env


def test_an_input_that_does_not_end_stops_nothing(install: Install, tmp_path: Path) -> None:
    it = install(configs=ALL)
    it.put(it.prefix / SHIMS["g"], it.go)
    env = {"PATH": it.path, "RECORD": str(tmp_path / "record")}
    begin = time.monotonic()
    process = subprocess.Popen([it.shim, *CONTAINERD, "start"], env=env, stdin=subprocess.PIPE)
    while not (tmp_path / "record").exists():
        assert time.monotonic() - begin < 10
        time.sleep(0.01)
    process.communicate(b"late")
    assert process.returncode == 0


@pytest.mark.parametrize(
    "action",
    [
        ("-id", "abc", "-bundle", "/b", "delete"),
        ("-id", "start", "delete"),
        ("-id=abc", "-bundle=start", "delete"),
        ("-info",),
        ("--version",),
        ("-v",),
        ("-id", "start"),  # the server itself, without an action
        (),
    ],
)
def test_only_start_needs_the_set(install: Install, tmp_path: Path, action: tuple[str, ...]) -> None:
    it = install(configs=ALL)
    (it.prefix / GO.path).unlink()
    done = start(it, CASES["4.x, Go, no options"], tmp_path, action)
    assert done.status == 0, done.stderr
    assert done.argv[1:] == [os.fsencode(w) for w in (*CONTAINERD, *action)]


@pytest.mark.parametrize(
    "action",
    [
        ("start",),
        ("-debug", "-id", "a", "start"),
        ("--id=a", "--debug", "start"),
        ("-id", "delete", "start"),
        ("-new-flag", "delete", "start"),
        ("--", "start"),
    ],
)
def test_every_way_to_write_start(install: Install, tmp_path: Path, action: tuple[str, ...]) -> None:
    it = install(configs=ALL)
    (it.prefix / GO.path).unlink()
    assert start(it, CASES["4.x, Go, no options"], tmp_path, action).status == 78


@pytest.mark.parametrize("kata", ["3.21", "4.1"])
def test_what_a_person_chose_by_variable_stays(install: Install, kata: str) -> None:
    it = install(kata=kata, configs=ALL)
    it.put(it.prefix / SHIMS["g"], it.go)
    done = call(it, it.shim, (*CONTAINERD, "start"), NULL, KATA_CONF_FILE="/mine.toml")
    assert done.env[b"KATA_CONF_FILE"] == b"/mine.toml"


def test_from_4_0_on_a_default_place_that_leads_here_is_named(install: Install, tmp_path: Path) -> None:
    """An administrator linked /etc/kata-containers/configuration.toml to the set: then the variable is accepted."""
    it = install(configs=ALL)
    it.put(it.prefix / SHIMS["g"], it.go)
    script = (
        "mount -t tmpfs none /etc; mkdir -p /etc/kata-containers; "
        f'ln -s "{it.prefix / GO.path}" /etc/kata-containers/configuration.toml; exec "$@" </dev/null'
    )
    argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh", it.shim, *CONTAINERD, "start"]
    if subprocess.run([*argv[:4], "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no user and mount namespaces")
    env = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "RECORD": str(tmp_path / "record")}
    subprocess.run(argv, env=env, check=True)

    record = read_record(tmp_path / "record")
    assert record is not None
    assert b"KATA_CONF_FILE=" + os.fsencode(it.prefix / GO.path) in record["env"]


def test_the_command_by_flavour_gets_its_configuration(install: Install, tmp_path: Path) -> None:
    it = install(configs=ALL)
    it.put(it.prefix / "bin/kata-runtime", it.go)
    for name, config in (("toy", GO), ("toy-qemu", GO), ("toy-clh", CLH_GO)):
        link = tmp_path / name
        link.symlink_to(it.prefix / "bin/toy")
        done = it.call("env", executable=link, argv0=link)
        assert done.argv[1:] == [b"--config", os.fsencode(it.prefix / config.path), b"env"], name
    odd = tmp_path / "toy-firecracker"
    odd.symlink_to(it.prefix / "bin/toy")
    done = it.call("env", executable=odd, argv0=odd)
    assert (done.status, done.record) == (78, None)
    assert "called as toy-firecracker" in done.stderr


def test_a_hypervisor_with_one_dialect_needs_no_suffix(install: Install, tmp_path: Path) -> None:
    it = install(kata="3.21", configs=(GO, CLH_RUST))
    it.put(it.prefix / SHIMS["r"], it.rust)
    link = tmp_path / "containerd-shim-toy-clh-v2"
    link.symlink_to(it.shim)
    done = call(it, link, (*CONTAINERD, "start"), NULL)
    assert done.env[b"KATA_CONF_FILE"] == os.fsencode(it.prefix / CLH_RUST.path)


def test_no_input_ends_it_otherwise_than_by_its_own_words(install: Install) -> None:
    """Options of every length and kind, cut and changed anywhere."""
    it = install(configs=ALL)
    it.put(it.prefix / SHIMS["g"], it.go)
    good, random = options(str(it.prefix / GO.path)), Random(1)
    for _ in range(150):
        changed = bytearray(good[: random.randrange(len(good) + 1)])
        for _ in range(random.randrange(4)):
            if changed:
                changed[random.randrange(len(changed))] = random.randrange(256)
        done = call(it, it.shim, (*CONTAINERD, "start"), bytes(changed))
        assert done.status in (0, 78), (bytes(changed), done)
        assert done.status == 78 or (done.record is not None and done.record["stdin"] == [bytes(changed)])


@pytest.mark.parametrize("flavour", ["qemu", "qemu-tdx"])
def test_names_inside_each_other(install: Install, tmp_path: Path, flavour: str) -> None:
    """``toy-qemu-tdx`` is neither ``qemu`` nor ``tdx``, whatever stands first in the set."""
    tdx = RuntimeConfig("qemu-tdx", "go", f"{DEFAULTS}/configuration-qemu-tdx.toml")
    it = install(kata="3.21", configs=(tdx, GO))
    it.put(it.prefix / SHIMS["g"], it.go)
    for name in (f"toy-{flavour}", f"mine-{flavour}"):
        link = tmp_path / f"containerd-shim-{name}-v2"
        link.symlink_to(it.shim)
        done = call(it, link, (*CONTAINERD, "start"), NULL)
        assert done.env[b"KATA_CONF_FILE"].endswith(f"/configuration-{flavour}.toml".encode()), name
