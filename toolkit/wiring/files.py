"""The files of ``share/NAME/``: what to install for each container manager."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from . import trees
from .annotations import PREFIX
from .handlers import Handler
from .overhead import figures
from .text import as_json, as_toml, as_yaml, fill

INDEX = "wiring.json"
TEMPLATES = (
    "containerd.toml.j2",
    "crio.conf.j2",
    "kata-deploy-values.yaml.j2",
    "pod.yaml.j2",
    "podman.conf.j2",
    "runtimeclass.yaml.j2",
)


def wiring_files(name: str, wrapper: str, prefix: str, arch: str, handlers: Sequence[Handler]) -> dict[str, str]:
    """Path below ``share/NAME`` → text. ``arch``: by Go's name, as Kubernetes' label has it."""
    drop_in = f"50-{wrapper}.conf"
    files = {
        f"containerd/{wrapper}-v{version}.toml": fill(
            "containerd.toml.j2", name=name, version=version, body=as_toml(_drop_in(handlers, version))
        )
        for version in trees.CONTAINERD_PLUGINS
    }
    values = trees.kata_deploy(handlers, arch)
    files |= {
        f"crio/{drop_in}": fill("crio.conf.j2", name=name, body=as_toml(trees.crio(handlers))),
        "docker/daemon.json": as_json(trees.docker(handlers)),
        "docker/daemon-20.10.json": as_json(trees.docker(handlers, commands=True)),
        f"podman/{drop_in}": fill("podman.conf.j2", name=name, body=as_toml(trees.podman(handlers))),
        "kubernetes/runtimeclass.yaml": _runtime_classes(name, arch, handlers),
        "kubernetes/kata-deploy-values.yaml": fill(
            "kata-deploy-values.yaml.j2", name=name, prefix=prefix, body=as_yaml(values)
        ),
        INDEX: as_json(index(name, wrapper, prefix, arch, handlers)),
    }
    return files | dict(_of_each(handlers))


def _drop_in(handlers: Sequence[Handler], version: int) -> trees.Tree:
    tree = trees.containerd(handlers, version)
    if version == trees.FORGETS_RUNC:
        containerd = tree["plugins"][trees.CONTAINERD_PLUGINS[version]]["containerd"]
        containerd["runtimes"] = {"runc": trees.RUNC, **containerd["runtimes"]}
    return tree


def _of_each(handlers: Sequence[Handler]) -> Iterator[tuple[str, str]]:
    for handler in trees.by_default(handlers).values():
        yield f"nerdctl/{handler.name}.args", _lines(trees.nerdctl(handler))
    for handler in handlers:
        yield f"annotations/{handler.name}.args", _lines(trees.ctr(handler))
        yield f"annotations/{handler.name}.json", as_json({"annotations": dict(handler.annotations)})
        body = as_yaml(trees.pod(handler))
        yield f"kubernetes/pod-{handler.name}.yaml", fill("pod.yaml.j2", handler=handler, body=body)


def _lines(words: list[str]) -> str:
    return "".join(f"{word}\n" for word in words)


def _runtime_classes(name: str, arch: str, handlers: Sequence[Handler]) -> str:
    data = figures()
    classes = [{"handler": h, "body": as_yaml(trees.runtime_class(h, arch))} for h in handlers]
    margin = f"{data['margin']:.0%}"
    return fill("runtimeclass.yaml.j2", name=name, classes=classes, margin=margin, step=data["round_mib"])


def index(name: str, wrapper: str, prefix: str, arch: str, handlers: Sequence[Handler]) -> dict[str, Any]:
    """The set's handlers for programs (``schemas/wiring.schema.json``)."""
    return {
        "version": 1,
        "name": name,
        "wrapper": wrapper,
        "prefix": prefix,
        "arch": arch,
        "handlers": [
            {
                "name": h.name,
                "flavour": h.flavour,
                "vmm": h.vmm,
                "dialect": h.dialect,
                "runtime_type": h.runtime_type,
                "shim": h.shim,
                "command": h.command,
                "config": h.config,
                "snapshotter": h.snapshotter,
                "overhead": h.overhead.as_json(),
                "annotations": dict(h.annotations),
                "refused_annotations": {key.removeprefix(PREFIX): why for key, why in h.refused.items()},
            }
            for h in handlers
        ],
    }
