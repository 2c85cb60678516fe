"""Good specs: the defaults, each kind of each part, the examples, and the model they become."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from kata_toolkit.errors import InputError, Where
from kata_toolkit.spec.load import load_spec, load_specs
from kata_toolkit.spec.model import (
    BinaryAgent,
    BuiltinAgent,
    CargoAgent,
    DebianKernel,
    GivenFile,
    Hypervisor,
    Image,
    Initrd,
    Kernel,
    KernelOption,
    MinimalRootfs,
    Patch,
    PrebuiltKernel,
    Spec,
    TarballAgent,
    TarballKernel,
    TreeKernel,
)
from kata_toolkit.spec.to_model import option_value

DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def spec_of(folder: Path, text: str) -> Spec:
    """The spec with this text after the two required lines."""
    path = folder / "guest.yaml"
    path.write_text(f"version: 1\nname: guest\n{text}", encoding="utf-8")
    return load_spec(path)


def test_two_lines_are_a_spec(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "")
    assert spec == Spec(
        file=tmp_path / "guest.yaml",
        digest=hashlib.sha256(b"version: 1\nname: guest\n").hexdigest(),
        name="guest",
        arch="x86_64",
        kernel=Kernel(source=DebianKernel("linux-source-6.12")),
        agent=BuiltinAgent(),
        rootfs=MinimalRootfs(busybox=True),
        image=Image(format="ext4", dax=True, align_mib=None),
        initrd=Initrd(enabled=False, compression="gzip"),
        kata="4.1",
        hypervisors=(Hypervisor("qemu", boot="image", dialects=("go", "rs")),),
        wrapper="kata-guest",
        prefix="/opt/guest",
        budgets={},
    )


def test_every_key_arrives_in_the_model(tmp_path: Path) -> None:
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "one.patch").write_text("---")
    spec = spec_of(
        tmp_path,
        """
arch: x86_64
kernel:
  source: {kind: debian, package: linux-source-6.1, version: "6.1.4-1", sha256: DIGEST}
  profile: minimal
  options: {CONFIG_A: true, CONFIG_B: 0x1F, CONFIG_C: text}
  patches: [patches/one.patch]
  cmdline: [mitigations=off, 'dyndbg="file a.c +p"']
rootfs: {kind: minimal, busybox: false}
image: {format: ext4, dax: false, align_mib: 128, verity: false}
initrd: {enabled: true, compression: none}
runtime:
  kata: "4.1"
  hypervisors:
    qemu: {boot: initrd, dialects: [rs], settings: {default_vcpus: 2, runtime.enable_debug: true}}
wrapper: {name: kata-x}
install: {prefix: /usr/}
budgets: {image_mib: 4, vmlinux_mib: 24.5, boot_minstr: 140, guest_overhead_mib: 48}
""".replace("DIGEST", DIGEST),
    )
    file = str(tmp_path / "guest.yaml")
    assert spec.kernel == Kernel(
        source=DebianKernel("linux-source-6.1", "6.1.4-1", DIGEST),
        profile="minimal",
        options=(
            KernelOption("CONFIG_A", "y", Where(file, 8, 13)),
            KernelOption("CONFIG_B", "0x1f", Where(file, 8, 29)),
            KernelOption("CONFIG_C", '"text"', Where(file, 8, 45)),
        ),
        patches=(Patch(tmp_path / "patches" / "one.patch"),),
        cmdline=("mitigations=off", 'dyndbg="file a.c +p"'),
    )
    assert spec.rootfs == MinimalRootfs(busybox=False)
    assert spec.image == Image("ext4", dax=False, align_mib=128)
    assert spec.initrd == Initrd(enabled=True, compression="none")
    (qemu,) = spec.hypervisors
    assert (qemu.boot, qemu.dialects) == ("initrd", ("rs",))
    assert qemu.settings == {"default_vcpus": 2, "runtime.enable_debug": True}
    assert qemu.where["runtime.enable_debug"] == Where(file, 17, 71)
    assert (spec.wrapper, spec.prefix) == ("kata-x", "/usr")
    assert spec.budgets == {"image_mib": 4, "vmlinux_mib": 24.5, "boot_minstr": 140, "guest_overhead_mib": 48}


def test_the_kinds_of_kernel_source(tmp_path: Path) -> None:
    for name in ("linux.tar.xz", "vmlinux", "config", "tree/Makefile", "tree/Kconfig"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")

    def source(text: str) -> object:
        return spec_of(tmp_path, f"kernel: {{source: {text}}}").kernel.source

    assert source("{kind: debian}") == DebianKernel("linux-source-6.12")
    assert source("{kind: tree, path: tree}") == TreeKernel(tmp_path / "tree")
    assert source("{kind: tarball, path: linux.tar.xz}") == TarballKernel(GivenFile(tmp_path / "linux.tar.xz"))
    url = "https://example.org/linux.tar.xz"
    assert source(f"{{kind: tarball, url: '{url}', sha256: {DIGEST}}}") == TarballKernel(GivenFile(None, url, DIGEST))
    assert source(f"{{kind: prebuilt, vmlinux: {{path: vmlinux, sha256: {DIGEST}}}, config: {{path: config}}}}") == (
        PrebuiltKernel(GivenFile(tmp_path / "vmlinux", None, DIGEST), config=GivenFile(tmp_path / "config"))
    )


def test_the_kinds_of_agent(tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("x")
    (tmp_path / "allow.rego").write_text("x")

    def agent(text: str) -> object:
        return spec_of(tmp_path, f"agent: {text}").agent

    binary = GivenFile(tmp_path / "agent")
    assert agent("{kind: builtin}") == BuiltinAgent()
    assert agent("{kind: binary, path: agent}") == BinaryAgent(binary, None)
    assert agent("{kind: binary, path: agent, policy: allow-all}") == BinaryAgent(binary, "allow-all")
    assert agent("{kind: binary, path: agent, policy: allow.rego}") == BinaryAgent(binary, tmp_path / "allow.rego")
    member = "{kind: tarball, path: agent, member: bin/agent, policy: allow-all}"
    assert agent(member) == TarballAgent(binary, "bin/agent", "allow-all")
    for name in ("Cargo.toml", "Cargo.lock"):
        (tmp_path / name).write_text("x")
    assert agent("{kind: cargo, path: .}") == CargoAgent(tmp_path)
    words = "package: a, bin: b, features: [c], default_features: false, target: x86_64-unknown-linux-musl"
    assert agent(f"{{kind: cargo, path: ., {words}}}") == CargoAgent(
        tmp_path, "a", "b", ("c",), default_features=False, target="x86_64-unknown-linux-musl"
    )


@pytest.mark.parametrize(
    ("value", "raw", "written"),
    [
        (True, "true", "y"),
        (False, "false", "n"),
        ("y", "y", "y"),
        ("n", "n", "n"),
        ("m", "m", "m"),
        ("yes", "yes", '"yes"'),
        (64, "64", "64"),
        (-1, "-1", "-1"),
        (16777216, "0x1000000", "0x1000000"),
        (31, "0x1F", "0x1f"),
        (15, "0o17", "15"),
        ("", None, '""'),
        ("-guest", "-guest", '"-guest"'),
        ('a "b" \\c', None, '"a \\"b\\" \\\\c"'),
    ],
)
def test_a_kernel_option_is_written_as_conf_writes_it(value: bool | int | str, raw: str | None, written: str) -> None:
    assert option_value(value, raw) == written


def test_paths_are_relative_to_the_spec_and_not_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "fix.patch").write_text("x")
    (tmp_path / "specs" / "guest.yaml").write_text("version: 1\nname: guest\nkernel: {patches: [../fix.patch]}\n")
    monkeypatch.chdir(tmp_path)
    spec = load_spec(Path("specs/guest.yaml"))
    assert spec.file == tmp_path / "specs" / "guest.yaml"
    assert spec.kernel.patches[0].path.samefile(tmp_path / "fix.patch")
    assert spec.kernel.patches[0].path.is_absolute()


def test_two_aliases_of_one_mapping_get_the_defaults_of_their_own_places(tmp_path: Path) -> None:
    # Filled in one after the other, a shared mapping would end up with the keys of both.
    spec = spec_of(tmp_path, "image: &empty {}\ninitrd: *empty\nbudgets: *empty\n")
    assert (spec.image, spec.initrd, spec.budgets) == (Image(), Initrd(), {})


@pytest.mark.parametrize("name", ["a", "a1", "a-b", "a" * 32])
def test_names_at_the_edge_of_the_rule(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(f"version: 1\nname: {name}\n")
    assert load_spec(tmp_path / "x.yaml").name == name


def test_the_examples_are_good(root: Path, tmp_path: Path) -> None:
    examples = sorted((root / "examples").glob("*.yaml"))
    assert {path.stem for path in examples} >= {"debian-kernel", "initrd", "kata-agent", "minimal", "quickstart"}
    for example in examples:
        copy = tmp_path / example.name
        copy.write_bytes(example.read_bytes())
    (tmp_path / "kata-agent").write_text("the file that the example asks to put there")
    (tmp_path / "guest-components").mkdir()
    specs = load_specs(sorted(tmp_path.glob("*.yaml")))
    assert [f"{spec.name}.yaml" for spec in specs] == [path.name for path in examples]


def test_several_specs_are_read_with_all_their_problems(tmp_path: Path) -> None:
    for name, text in {
        "a": "version: 1\nname: a\n",
        "b": "version: 1\nname: a\n",
        "c": "version: 2\nname: c\n",
    }.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        load_specs([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert [problem.message for problem in caught.value.problems] == [
        f'is called "a", as is {tmp_path / "a"}',
        "expected 1, got 2",
    ]
