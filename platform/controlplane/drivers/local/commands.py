"""The last command that was taken for each revision, with the ports of its servers.

It lies in `servers/REVISION/state.json`. A command older than that one comes from a worker that
was overtaken, and is refused.
"""

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from apps.endpoints.domain.values import ServerSpec
from controlplane.drivers import files
from controlplane.drivers.local import ports
from controlplane.kernel.errors import Conflict

PORTS = range(20_000, 30_000)  # below the ports that the system hands out by itself


@dataclass(frozen=True)
class Command:
    """What was asked for, and where its servers listen: a port for each replica."""

    spec: ServerSpec
    ports: tuple[int, ...]

    def refuse_older(self, generation: int) -> None:
        """Refuse a command of an older generation than this one's.

        Raises:
            Conflict: It came from a worker that was overtaken.
        """
        if self.spec.generation > generation:
            raise Conflict(
                f"A command of generation {generation} came after one of "
                f"generation {self.spec.generation}.",
                code="endpoint.overtaken",
            )


class Commands:
    """The commands of all revisions."""

    def __init__(self, folder: Path) -> None:
        """Keep them below `folder`, a folder for each revision."""
        self._folder = folder

    def known(self) -> frozenset[str]:
        """Return the revisions of which there is a command."""
        try:
            return frozenset(p.name for p in self._folder.iterdir() if (p / "state.json").exists())
        except FileNotFoundError:
            return frozenset()

    def of(self, revision: str) -> Command | None:
        """Return the last command for a revision."""
        value = files.read_json(self._folder / revision / "state.json")
        if not value:
            return None
        return Command(ServerSpec(**value["spec"]), tuple(value["ports"]))

    def accept(self, spec: ServerSpec) -> Command:
        """Remember a command, with a port for every replica.

        Raises:
            Conflict: A newer one has been taken.
        """
        with files.locked(self._folder):
            last = self.of(spec.revision)
            if last is not None:
                last.refuse_older(spec.generation)
                if last.spec == spec and len(last.ports) >= spec.replicas:
                    return last
            return self._save(Command(spec, self._ports(spec, last.ports if last else ())))

    def choose_ports(self, spec: ServerSpec, *, taken: int) -> Command:
        """Give the replica on the port `taken`, which somebody else has now, another one."""
        with files.locked(self._folder):
            last = self.of(spec.revision) or Command(spec, ())
            kept = tuple(p for p in last.ports if p != taken)
            others = self._ports(spec, kept)
            fresh = next(p for p in others if p not in kept)
            return self._save(Command(spec, tuple(fresh if p == taken else p for p in last.ports)))

    def _ports(self, spec: ServerSpec, kept: tuple[int, ...]) -> tuple[int, ...]:
        """Return `kept`, and as many more ports as there are replicas without one."""
        used = {p for r in self.known() if (c := self.of(r)) for p in c.ports}
        # Two homes on one machine begin at different places, so they seldom meet.
        first = PORTS.start + zlib.crc32(str(self._folder).encode()) % (len(PORTS) - 1000)
        for port in (*range(first, PORTS.stop), *range(PORTS.start, first)):
            if len(kept) >= spec.replicas:
                break
            if port not in used and port not in kept and ports.is_free(port):
                kept = (*kept, port)
        return kept

    def _save(self, command: Command) -> Command:
        path = self._folder / command.spec.revision / "state.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name("state.json.new")
        fresh.write_text(json.dumps({"spec": asdict(command.spec), "ports": command.ports}))
        fresh.rename(path)
        return command
