"""A booted guest for the agent's tests, and short ways to run something in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kata_toolkit.vm.agent_client import AgentClient, Container, Finished, Running
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.oci import Process, container_spec
from kata_toolkit.vm.session import Options, Session

MIB = 1 << 20


@contextlib.contextmanager
def booted(built_set: Path) -> Iterator[AgentClient]:
    """The agent of a guest with a sandbox in it."""
    with Session.boot(BuiltSet.load(built_set).bootable(), Options(accel="tcg"), note=print) as session:
        session.agent.create_sandbox(hostname="pod")
        yield session.agent


def sh(agent: AgentClient, script: str, *, stdin: bytes | None = None, **spec: object) -> Finished:
    """Run a script in a container of its own. Words for the process and for the container may be mixed."""
    words = {name: spec.pop(name) for name in list(spec) if name in Process.__dataclass_fields__}
    process = Process(["/bin/sh", "-c", script], **words)  # type: ignore[arg-type] -- the tests' own words
    return agent.run_container([], process=process, stdin=stdin, timeout_seconds=20, **spec)


def run_spec(agent: AgentClient, spec: object) -> Finished:
    """Run a container from a whole specification."""
    container = agent.create_container(spec)
    try:
        return container.start().communicate()
    finally:
        container.remove()


def lines(done: Finished) -> list[str]:
    """The output's lines; it must have succeeded."""
    assert done.status == 0, done
    return done.stdout.decode().splitlines()


@contextlib.contextmanager
def sleeping(agent: AgentClient) -> Iterator[tuple[Container, Running]]:
    """A container whose own program sleeps and catches no signal."""
    container = agent.create_container(container_spec(Process(["/bin/sleep", "1000"])))
    yield container, container.start()
    container.remove(10)
