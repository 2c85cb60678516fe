"""What each container manager is told of a set's handlers, as data; `files` writes it out, `wire` merges it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .handlers import Handler
from .text import as_toml, as_yaml

Tree = dict[str, Any]

CONTAINERD_PLUGINS = {
    2: "io.containerd.grpc.v1.cri",
    3: "io.containerd.cri.v1.runtime",
    4: "io.containerd.cri.v1.runtime",
}
"""Versions of containerd's configuration, and the plugin that has the runtimes there."""

RUNC: Tree = {"runtime_type": "io.containerd.runc.v2"}
"""containerd's own default runtime. containerd 1.x forgets it when a configuration names any other, and then its CRI
plugin does not start."""
FORGETS_RUNC = 2  # the version of the configuration of containerd 1.x

_POD_ANNOTATIONS = ["io.katacontainers.*"]
_CONTAINER_ANNOTATIONS = ["io.katacontainers.*", "io.kubernetes.container.terminationMessage*"]
_CRIO_ANNOTATIONS = ["io.kubernetes.cri-o.ShmSize"]


def containerd(handlers: Sequence[Handler], version: int) -> Tree:
    """The runtimes of containerd's CRI plugin, without the ``version`` key."""
    runtimes: Tree = {}
    for handler in handlers:
        runtimes[handler.name] = {
            "runtime_type": handler.runtime_type,
            "runtime_path": handler.shim,
            "privileged_without_host_devices": True,
            "pod_annotations": _POD_ANNOTATIONS,
            "container_annotations": _CONTAINER_ANNOTATIONS,
            **({"snapshotter": handler.snapshotter} if handler.snapshotter else {}),
            "options": {"ConfigPath": handler.config},
        }
    return {"plugins": {CONTAINERD_PLUGINS[version]: {"containerd": {"runtimes": runtimes}}}}


def crio(handlers: Sequence[Handler]) -> Tree:
    """CRI-O's runtimes. Annotations of Kata's need no leave there: only CRI-O's own are held back."""
    return {
        "crio": {
            "runtime": {
                "runtimes": {
                    handler.name: {
                        "runtime_path": handler.shim,
                        "runtime_type": "vm",
                        "runtime_root": "/run/vc",
                        "runtime_config_path": handler.config,
                        "privileged_without_host_devices": True,
                        "allowed_annotations": _CRIO_ANNOTATIONS,
                    }
                    for handler in handlers
                }
            }
        }
    }


def docker(handlers: Sequence[Handler], *, commands: bool = False) -> Tree:
    """Docker's runtimes: shims for Docker 24 and later; with ``commands`` what older ones know."""
    if commands:
        return {"runtimes": {handler.name: {"path": handler.command} for handler in handlers if handler.command}}
    return {
        "runtimes": {
            handler.name: {"runtimeType": handler.shim, "options": {"ConfigPath": handler.config}}
            for handler in handlers
        }
    }


def podman(handlers: Sequence[Handler]) -> Tree:
    """Podman's runtimes, which are command lines."""
    return {"engine": {"runtimes": {handler.name: [handler.command] for handler in handlers if handler.command}}}


def by_default(handlers: Sequence[Handler]) -> dict[str, Handler]:
    """The handlers whose configuration can be the default one of its dialect: where Kata looks below /etc → handler.

    It is all that a manager has which cannot tell a shim its configuration.
    """
    places = {"go": "etc/kata-containers/configuration.toml", "rs": "etc/kata-containers/runtime-rs/configuration.toml"}
    found: dict[str, Handler] = {}
    for handler in handlers:
        found.setdefault(places[handler.dialect], handler)
    return found


def nerdctl(handler: Handler) -> list[str]:
    """Arguments of ``nerdctl run``, which can tell a shim no configuration: it takes the default one."""
    return [
        f"--runtime={handler.runtime_type}",
        *([f"--snapshotter={handler.snapshotter}"] if handler.snapshotter else []),
    ]


def ctr(handler: Handler) -> list[str]:
    """Arguments of ``ctr run`` for a container with the VM that its annotations describe."""
    return [
        f"--runtime={handler.runtime_type}",
        f"--runtime-config-path={handler.config}",
        *([f"--snapshotter={handler.snapshotter}"] if handler.snapshotter else []),
        *(f"--annotation={key}={value}" for key, value in handler.annotations.items()),
    ]


def runtime_class(handler: Handler, arch: str) -> Tree:
    """A Kubernetes RuntimeClass (node.k8s.io/v1); ``arch``: by Go's name."""
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": handler.name},
        "handler": handler.name,
        "overhead": {
            "podFixed": {"memory": f"{handler.overhead.memory_mib}Mi", "cpu": f"{handler.overhead.cpu_millis}m"}
        },
        "scheduling": {"nodeSelector": {"katacontainers.io/kata-runtime": "true", "kubernetes.io/arch": arch}},
    }


def pod(handler: Handler) -> Tree:
    """A pod that asks for the handler and describes its VM."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "example", "annotations": dict(handler.annotations)},
        "spec": {
            "runtimeClassName": handler.name,
            "containers": [{"name": "main", "image": "busybox", "command": ["sleep", "infinity"]}],
        },
    }


def kata_deploy(handlers: Sequence[Handler], arch: str) -> Tree:
    """Values for the chart kata-deploy: its own installation, with this set's guest in it."""
    return {
        "customRuntimes": {
            "enabled": True,
            "runtimes": {
                handler.name: {
                    "baseConfig": handler.flavour,
                    "dropIn": as_toml(handler.changes),
                    "runtimeClass": as_yaml(runtime_class(handler, arch)),
                    "containerd": {"snapshotter": handler.snapshotter},
                    "crio": {"pullType": ""},
                }
                for handler in handlers
            },
        }
    }
