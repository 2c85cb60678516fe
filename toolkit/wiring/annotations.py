"""The OCI annotations that describe one container's VM, as far as a configuration lets a container use them.

Kata admits an annotation ``io.katacontainers.config.hypervisor.KEY`` when an expression of ``enable_annotations`` is
found in KEY (found, not equal: ``kernel`` admits ``kernel_params`` as well). Paths of programs must besides match a
pattern of the ``valid_*_paths`` beside them. What is not admitted is an error when the container is made.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

PREFIX = "io.katacontainers.config.hypervisor."

# A VM's description: the annotation's key and the setting it stands for.
_DESCRIPTION = {
    "path": "path",
    "kernel": "kernel",
    "image": "image",
    "initrd": "initrd",
    "default_vcpus": "default_vcpus",
    "default_memory": "default_memory",
    "virtio_fs_daemon": "virtio_fs_daemon",
}
_VALID = {"path": "valid_hypervisor_paths", "virtio_fs_daemon": "valid_virtio_fs_daemon_paths"}


def describe(values: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The description that a configuration's values make: what it admits, and what not, with the reason.

    Of an annotation, ``kernel_params`` are added to those of the configuration, so they are none of it.
    """
    admitted, refused = {}, {}
    for key, setting in _DESCRIPTION.items():
        value = values.get(setting)
        if value in (None, "", 0):
            continue
        reason = _refusal(key, str(value), values)
        if reason:
            refused[PREFIX + key] = reason
        else:
            admitted[PREFIX + key] = _text(value)
    return admitted, refused


def _text(value: Any) -> str:
    """Annotations are text; a whole number of CPUs is written as one."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _refusal(key: str, value: str, values: Mapping[str, Any]) -> str:
    if not any(_found(expression, key) for expression in values.get("enable_annotations") or ()):
        return f"enable_annotations does not admit {key}"
    patterns = _VALID.get(key)
    if patterns and not any(fnmatch.fnmatchcase(value, pattern) for pattern in values.get(patterns) or ()):
        return f"{patterns} does not admit {value}"
    return ""


def _found(expression: str, key: str) -> bool:
    """The runtimes' expressions are Go's and Rust's; one that is none of Python's admits nothing here."""
    try:
        return re.search(expression, key) is not None
    except re.error:
        return False
