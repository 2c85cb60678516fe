"""What a stage is: frozen options, a pure ``plan()`` that says what it will execute, and a ``run()``.

A stage's id, the cache key, is a hash of its `Recipe`: what will be executed, from which bytes, by which tools.
Nothing else counts, so a reworded comment never recompiles a kernel.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

from .. import resources, run
from ..errors import ToolError
from ..events import Emit, Note, Progress

ID_LENGTH = 32  # hex digits: 128 bits, plenty against accident, and short enough to read in a log


PLACES = {
    "out": "the stage's output folder, in the store afterwards",
    "scratch": "a temporary folder, and where the command runs",
    "resources": "kata-toolkit's own data: agent/, wrapper/, …",
    "jobs": "the number of jobs",
    "tree": "the unpacked kernel source, in the cache",
    "build": "the kernel's build folder, in the cache",
    "cc": "the compiler, behind ccache where it is installed",
    "busybox": "this machine's static busybox",
    "source": "a copy of the agent's sources",
    "toolchain": "the folder of the Rust toolchain",
    "manifest": "the Cargo.toml of the package to build",
    "bin": "the program to build",
    "mode": "how mmdebstrap becomes root: as it is, or in a user namespace",
    "repository": "the packages, fetched and checked, with an index",
}
"""What the ``@places@`` of commands stand for, for people."""


@dataclass(frozen=True, slots=True)
class Command:
    """One process a stage will start. Words may hold ``@name@`` places that `Work.run` fills in.

    Places keep machine paths out of the cache key: ``@out@`` (the stage's output folder), ``@scratch@`` (a folder
    that vanishes), ``@jobs@``, ``@resources@`` (the program's data), and whatever the stage itself passes to
    `Work.run`.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    def __init__(self, *argv: str, env: Mapping[str, str] | None = None) -> None:
        object.__setattr__(self, "argv", argv)
        object.__setattr__(self, "env", dict(env or {}))


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a stage's bytes. All values are JSON.

    ``commands``: what is run. ``options``: what our own code reads. ``files``: name → sha256 of source files and
    generated text. ``inputs``: "stage/path" → sha256. ``tools``: tool → version. ``modules``: our own Python
    modules whose code lays out bytes → sha256.
    """

    commands: Sequence[Command] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The recipe as plain JSON, as kept in the store beside the output."""
        return {
            "commands": [{"argv": list(c.argv), "env": dict(c.env)} for c in self.commands],
            "options": dict(self.options),
            "files": dict(self.files),
            "inputs": dict(self.inputs),
            "tools": dict(self.tools),
            "modules": dict(self.modules),
        }

    def id(self, stage: str) -> str:
        """The cache key: 32 hex digits."""
        text = json.dumps({"stage": stage, **self.as_json()}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


@dataclass(frozen=True, slots=True)
class Missing:
    """What would have to be fetched, in words. ``sha256``: empty where an id says it all; ``size``: in bytes."""

    what: str
    sha256: str = ""
    size: int | None = None

    def __str__(self) -> str:
        digest = f"sha256 {self.sha256}" if self.sha256 else ""
        told = ", ".join(filter(None, (digest, f"{self.size:,} bytes" if self.size else "")))
        return f"{self.what} ({told})" if told else self.what


class NotBuiltYet(Exception):  # noqa: N818 -- not an error: `plan` prints it as "depends on …"
    """Raised by `Inputs` when a stage's recipe depends on bytes that do not exist yet."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        super().__init__(stage)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Something that the spec leaves open, see `Inputs.resolved`.

    ``key``: the place in the spec that wishes it, such as ``rootfs.packages``. ``request``: all that it depends on,
    without paths of this machine. ``find``: looks it up in the world. ``renew``: for ``lock --update NAME``, given the
    earlier answer and the names that are to be found anew, it holds all else to that answer; None: all or nothing.
    """

    key: str
    request: Mapping[str, Any]
    find: Callable[[], Any]
    renew: Callable[[Any, frozenset[str]], Any] | None = None


class Inputs(ABC):
    """What ``plan()`` may ask: the digests of other stages' outputs, and of tools."""

    @abstractmethod
    def digest(self, stage: str, path: str) -> str:
        """The sha256 of a file in another stage's output. Raises NotBuiltYet, KeyError (no such file)."""

    @abstractmethod
    def path(self, stage: str, path: str) -> Path:
        """Where that file lies (read-only). Raises NotBuiltYet."""

    @abstractmethod
    def tool(self, name: str, *version_argv: str) -> str:
        """The identity of a tool: the first line of ``name --version`` (or of the arguments given).

        Raises ToolError with what to install when it is missing.
        """

    @abstractmethod
    def file_digest(self, path: Path) -> str:
        """The sha256 of a file on disk, remembered by size, inode and times. Raises InputError when unreadable."""

    @abstractmethod
    def resolved(self, lookup: Lookup) -> Any:
        """What a wish is today, exactly: a package's version and digest, an image's digest; all JSON.

        A lock file may answer in the world's place. Raises InputError when it has no answer, or one to another request,
        and as ``lookup.find`` does.
        """

    @abstractmethod
    def observed(self, key: str, found: Mapping[str, Any]) -> None:
        """Something of this machine that goes into the set as it is: nothing is fetched, so a lock file compares.

        ``key`` as of `resolved`; ``found``: what identifies it, without paths. Raises InputError when the lock file
        holds another, or none.
        """

    @property
    @abstractmethod
    def cache(self) -> Path:
        """The cache folder, for stages that keep scratch trees between builds."""

    @property
    @abstractmethod
    def offline(self) -> bool:
        """The network must not be used."""


@dataclass
class Work:
    """What ``run()`` gets: a fresh output folder, a scratch folder that vanishes, and the outside."""

    stage: str
    recipe: Recipe
    out: Path
    scratch: Path
    inputs: Inputs
    emit: Emit
    log: run.Log
    jobs: int

    def run(
        self,
        command: Command,
        *,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        stdin: IO[bytes] | None = None,
        unrecorded: Mapping[str, str] | None = None,
        **places: Path | str,
    ) -> run.Result:
        """Run one of the recipe's commands with its places filled in. Raises ToolError.

        ``unrecorded``: environment that changes no byte of the output (a compiler cache), so is not in the recipe.
        """
        known = {
            "out": str(self.out),
            "scratch": str(self.scratch),
            "jobs": str(self.jobs),
            "resources": str(resources.resource()),
            **{name: str(value) for name, value in places.items()},
        }
        argv = [fill(word, known) for word in command.argv]
        env = {**{name: fill(value, known) for name, value in command.env.items()}, **(unrecorded or {})}
        return run.run(argv, env=env, cwd=cwd or self.scratch, log=self.log, on_line=on_line, stdin=stdin)

    def progress(self, done: int, total: int, unit: str, what: str = "") -> None:
        """Tell how far the stage is; ``total`` 0 means unknown."""
        self.emit(Progress(self.stage, done, total, unit, what))

    def note(self, text: str) -> None:
        """Tell a person something once."""
        self.emit(Note(self.stage, text))


def fill(word: str, places: Mapping[str, str]) -> str:
    """Replace ``@name@`` in a word."""
    for name, value in places.items():
        word = word.replace(f"@{name}@", value)
    return word


class Stage(ABC):
    """A step of the build. Subclasses are frozen dataclasses of options, one file each in ``stages/``."""

    name: ClassVar[str]
    title: ClassVar[str]  # a few words for a person, e.g. "guest kernel"
    modules: ClassVar[tuple[str, ...]] = ()
    """Our modules whose code decides output bytes, relative to the package, e.g. ``image/ext4.py``."""
    checkers: ClassVar[frozenset[str]] = frozenset()
    """Tools that only look at what was made: their versions decide no bytes, and no lock file holds them."""
    fetches: ClassVar[bool] = False
    """Whether ``run()`` may use the network; such a stage's recipe depends on no other stage."""

    @abstractmethod
    def plan(self, inputs: Inputs) -> Recipe:
        """What will be executed. Pure: reads, but writes nothing (scratch caches aside).

        Raises NotBuiltYet when it depends on bytes that are not there yet; InputError, ToolError.
        """

    @abstractmethod
    def run(self, work: Work) -> None:
        """Do it: write the output below ``work.out``. Raises InputError, ToolError."""

    def missing(self, recipe: Recipe, inputs: Inputs) -> Iterable[Missing]:
        """What ``run()`` would have to fetch, for a stage that `fetches`."""
        return ()

    def fetch(self, work: Work) -> None:
        """Bring into the cache what ``run()`` would fetch, for a stage that `fetches`; what it makes is thrown away.

        A stage that does much more than fetching overrides it. Raises InputError, ToolError.
        """
        self.run(work)

    def require_unchanged(self, work: Work) -> None:
        """For a stage that reads contents only while it runs. Raises ToolError when its recipe is another by now."""
        if self.plan(work.inputs).id(self.name) != work.recipe.id(self.name):
            raise ToolError(f"what the {self.title} is made from changed while it was used", hint="build again")

    def known_tools(self, inputs: Inputs) -> Mapping[str, str]:
        """The tools that decide this stage's bytes, for one whose ``plan()`` must read what is not built yet.

        More than it will use does no harm. Raises ToolError.
        """
        return {}

    @classmethod
    def module_digests(cls, *more: str) -> dict[str, str]:
        """The digests of `modules`, and of ``more`` that only some options bring in, for `Recipe.modules`."""
        package = Path(resources.__file__).parent
        return {m: hashlib.sha256((package / m).read_bytes()).hexdigest() for m in (*cls.modules, *more)}
