"""Rules about the runtime itself: network, agent, factory, mounts, annotations, peer pods."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from typing import Any

from .rule import Broken, Rules, Values

RUNTIME = Rules()
_SHARED = ("virtio-fs", "virtio-fs-nydus")
_ONLY_X86_AND_ARM = ("firecracker", "dragonball", "clh", "openvmm")
_MOUNT_FIELDS = ("name", "src_ctr", "src_path", "dst_ctr", "dst_path")
_MOUNT_PATH = re.compile(r"(/[-\w.]+)+/?")

_PATTERNS = (
    ("path", "valid_hypervisor_paths"),
    ("jailer_path", "valid_jailer_paths"),
    ("ctlpath", "valid_ctlpaths"),
    ("virtio_fs_daemon", "valid_virtio_fs_daemon_paths"),
    ("vhost_user_store_path", "valid_vhost_user_store_paths"),
    ("entropy_source", "valid_entropy_sources"),
)


@RUNTIME.add("known-vmm", rs=("error", "adjust"))
def _vmm(v: Values) -> Iterator[Broken]:
    if v.hypervisor in _ONLY_X86_AND_ARM and v.arch not in ("x86_64", "aarch64"):
        message = f"the Rust runtime has no {v.hypervisor} on {v.arch}"
        yield Broken(("runtime.hypervisor_name",), message, "take qemu")


@RUNTIME.add("network-namespace", go=("error", "load"))
def _network(v: Values) -> Iterator[Broken]:
    model = v.get("runtime.internetworking_model")
    if v.get("runtime.disable_new_netns") and model != "none":
        yield Broken(
            ("runtime.disable_new_netns", "runtime.internetworking_model"),
            f'runtime.disable_new_netns needs runtime.internetworking_model "none", not "{model}"',
        )


@RUNTIME.add("remote-network", rs=("override", "adjust"))
def _remote_network(v: Values) -> Iterator[Broken]:
    if v.hypervisor != "remote":
        return
    for name, forced in (("runtime.internetworking_model", "none"), ("runtime.disable_new_netns", False)):
        if name in v.given and v.given[name] != forced:
            shown = "false" if forced is False else f'"{forced}"'
            yield Broken((name,), f"the Rust runtime takes {shown} for {name} with remote", "remove it")


@RUNTIME.add("remote", rs=("error", "validate"))
def _remote(v: Values) -> Iterator[Broken]:
    if v.hypervisor != "remote":
        return
    for name in ("default_maxmemory", "default_maxvcpus"):
        if v.given.get(name):
            message = f"{name} must be what the host has, with remote"
            yield Broken((name,), message, f"remove {name}, or set it to 0")
    for name in ("initrd", "rootfs_type"):
        if v.given.get(name):
            yield Broken((name,), f"{name} is refused with remote: the service has images of its own", "remove it")


@RUNTIME.add("template-shares-nothing", go=("error", "load"))
def _template(v: Values) -> Iterator[Broken]:
    kind = v.get("shared_fs")
    if v.get("factory.enable_template") and kind in _SHARED:
        yield Broken(
            ("factory.enable_template", "shared_fs"),
            f'factory.enable_template excludes shared_fs "{kind}" in the Go runtime',
            'a template cannot hold the connection to virtiofsd: set shared_fs: "virtio-9p" or "none"',
        )


@RUNTIME.add("template-confidential", go=("hazard", "create"), rs=("hazard", "start"))
def _template_confidential(v: Values) -> Iterator[Broken]:
    if v.get("factory.enable_template") and v.get("confidential_guest"):
        yield Broken(
            ("factory.enable_template", "confidential_guest"),
            "factory.enable_template excludes confidential_guest: an encrypted guest cannot be cloned",
            "remove factory.enable_template",
        )


@RUNTIME.add("cache-needs-qemu", go=("error", "load"))
def _cache(v: Values) -> Iterator[Broken]:
    if v.get("factory.vm_cache_number") and v.hypervisor != "qemu":
        message = f"factory.vm_cache_number works with qemu only, not with {v.hypervisor}"
        yield Broken(("factory.vm_cache_number",), message, "remove it")


@RUNTIME.add("cache-or-template", go=("hazard", "load"))
def _cache_or_template(v: Values) -> Iterator[Broken]:
    if v.get("factory.vm_cache_number") and v.get("factory.enable_template"):
        yield Broken(
            ("factory.vm_cache_number", "factory.enable_template"),
            "factory.vm_cache_number and factory.enable_template exclude each other: a VM comes from one of them",
            "remove one of them",
        )


@RUNTIME.add("create-timeout-left-out", go=("hazard", "create"))
def _create_timeout(v: Values) -> Iterator[Broken]:
    if "runtime.create_container_timeout" not in v.given:
        message = "runtime.create_container_timeout is left out: every container fails at once"
        yield Broken(("runtime.create_container_timeout",), message, "set runtime.create_container_timeout: 60")


@RUNTIME.add("vfio-mode-left-out", go=("note", "load"))
def _vfio_mode(v: Values) -> Iterator[Broken]:
    if "runtime.vfio_mode" not in v.given:
        message = 'runtime.vfio_mode is left out, which means "vfio", not "guest-kernel" as documents say'
        yield Broken(("runtime.vfio_mode",), message)


@RUNTIME.add("dial-timeouts", rs=("error", "validate"))
def _dialling(v: Values) -> Iterator[Broken]:
    pause, total = v.get("agent.dial_timeout_ms"), v.get("agent.dial_timeout")
    if pause and total is not None and total < pause:
        yield Broken(
            ("agent.dial_timeout", "agent.dial_timeout_ms"),
            f"agent.dial_timeout_ms {pause} ms, the pause between attempts, is longer than the whole time, {total} ms",
        )


@RUNTIME.add("mem-agent-order", rs=("note", "boot"))
def _mem_agent(v: Values) -> Iterator[Broken]:
    given = [name for name in v.given if name.startswith("agent.mem_agent.compact_")]
    if v.get("agent.mem_agent.enable") and given:
        message = f"{given[0]} reaches the agent before agent.mem_agent.enable, and is ignored"
        yield Broken((given[0],), message)


@RUNTIME.add("bind-mounts", go=("error", "load"))
def _bind_mounts(v: Values) -> Iterator[Broken]:
    mounts: Any = v.given.get("runtime.sandbox_bind_mounts") or []
    names = [str(path).rstrip("/").rpartition("/")[2] for path in mounts]
    for name in dict.fromkeys(n for n in names if names.count(n) > 1):
        message = f'two of runtime.sandbox_bind_mounts end in "{name}": they would be one folder in the guest'
        yield Broken(("runtime.sandbox_bind_mounts",), message)


@RUNTIME.add("shared-mounts", rs=("error", "validate"))
def _shared_mounts(v: Values) -> Iterator[Broken]:
    mounts: Any = v.given.get("runtime.shared_mounts")
    for mount in mounts if isinstance(mounts, list) else []:
        if not isinstance(mount, dict):
            continue
        missing = [name for name in _MOUNT_FIELDS if not mount.get(name)]
        if missing:
            yield Broken(("runtime.shared_mounts",), f"one of runtime.shared_mounts lacks {', '.join(missing)}")
            continue
        for name in ("src_path", "dst_path"):
            path = str(mount[name])
            if not _MOUNT_PATH.fullmatch(path) or ".." in path.split("/"):
                yield Broken(("runtime.shared_mounts",), f"{name} of runtime.shared_mounts is no plain path: {path}")


@RUNTIME.add("valid-paths", go=("hazard", "create"), rs=("hazard", "validate"))
def _paths(v: Values) -> Iterator[Broken]:
    for name, allowed in _PATTERNS:
        path, patterns = v.get(name), v.given.get(allowed)
        if path and patterns is not None and not any(fnmatch.fnmatchcase(path, p) for p in patterns):
            yield Broken((allowed, name), f"{allowed} does not admit {name}, {path}", f"add {path}")
