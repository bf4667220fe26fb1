"""Envoy as the traffic router: resources go in by file, and what is in force is read back.

The table of all routes is kept beside Envoy's files, under a lock, because one file holds the
routes of all endpoints. Files are written in the order in which Envoy may need them (replicas,
then clusters, then routes) and only when they differ. Nothing here touches a listener.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from apps.endpoints.domain.values import Route, RouteSeen
from controlplane.drivers.envoy import routes
from controlplane.drivers.envoy.bootstrap import replace
from controlplane.kernel import digests
from controlplane.kernel.errors import Conflict, Permanent, Transient

TAKEN_UP_WITHIN = 3.0  # seconds; measured: 5 to 25 ms
LOOK_EVERY = 0.01  # seconds
NOTHING_OF_THE_KIND = 404  # what /config_dump answers while there is no cluster, or no replica
FRESH = 1.0  # seconds for which an observation is shared between the passes of one process
FORGOTTEN_AFTER = 3600.0  # seconds for which a removed endpoint's generation is remembered


@dataclass
class _Look:
    at: float
    stamp: tuple[float, ...]
    in_force: routes.InForce


class EnvoyRouter:
    """Implements `apps.endpoints.ports.TrafficRouter` with an Envoy that watches files."""

    def __init__(
        self,
        folder: Path,
        *,
        admin: str,
        log: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Speak to one Envoy.

        Args:
            folder: Where its bootstrap and its files are (MODELYARD_HOME/envoy).
            admin: Its admin address, "http://127.0.0.1:PORT".
            log: Where it logs, for its own words when it refuses a file.
            clock: Tells seconds.
        """
        self.folder, self._log, self._clock = folder, log, clock
        self._admin = httpx.Client(base_url=admin, timeout=5, trust_env=False)
        self._look: _Look | None = None

    def close(self) -> None:
        """Close the connection to the admin page."""
        self._admin.close()

    def apply(self, route: Route) -> None:
        """Implement `TrafficRouter.apply`."""
        with self._locked():
            table = self._table()
            _refuse_older(table.get(route.endpoint), route.generation)
            wanted = {**table, route.endpoint: routes.to_json(route)}
            try:
                self._put(wanted, changed=route.endpoint)
            except Permanent:
                # One endpoint's route that Envoy refuses must not stand in the others' way.
                self._put(table, changed=route.endpoint)
                raise

    def remove(self, endpoint: str, *, generation: int) -> None:
        """Implement `TrafficRouter.remove`."""
        with self._locked():
            table = self._table()
            _refuse_older(table.get(endpoint), generation)
            # What is left says only which generation removed it, so a late command is refused.
            gone = {"generation": generation, "removed": time.time()}
            self._put({**table, endpoint: gone}, changed=endpoint)

    def observe(self, endpoint: str) -> RouteSeen:
        """Implement `TrafficRouter.observe`."""
        return self.observe_all().get(endpoint, RouteSeen())

    def observe_all(self) -> dict[str, RouteSeen]:
        """Implement `TrafficRouter.observe_all`."""
        table, in_force = self._table(), self._in_force()
        return {
            endpoint: routes.compare(route, in_force, eds_path=self._eds_paths(route))
            for endpoint, route in _routes(table).items()
        }

    def _put(self, table: dict[str, Any], *, changed: str) -> None:
        """Write what differs, in order, and wait until Envoy has it.

        1. The table, so that whoever comes next starts from it.
        2. The replicas of the clusters; a new cluster's file must be there before the cluster.
        3. The clusters, old ones still among them, and wait: a route to a cluster that is not
           there yet would be answered with 503.
        4. The routes, and wait.
        5. The clusters without those that no route needs any more, and their files.
        """
        _forget_removed(table)
        replace(self.folder / "table.json", table)
        wanted, rejected = _routes(table), self._rejections()
        needed = self._write_replicas(wanted, changed)
        held = needed | self._clusters_on_disk()
        self._write_clusters(held)
        self._wait_for(lambda seen: needed <= set(seen.clusters), rejected)
        configuration = routes.route_configuration(wanted.values())
        self._write(self.folder / "rds.json", [configuration])
        self._wait_for(
            lambda seen: seen.configuration == configuration and self._taken_up(wanted, changed),
            rejected,
        )
        self._write_clusters(needed)
        for name in held - needed:
            self._eds(name).unlink(missing_ok=True)

    def _write_replicas(self, wanted: Mapping[str, Route], changed: str) -> set[str]:
        """Write the replicas of the changed endpoint, and any that are not on disk.

        Returns:
            The names of all clusters that the routes need.
        """
        needed = set()
        for route in wanted.values():
            for share in route.shares:
                name = routes.cluster_name(route.endpoint, share.number)
                needed.add(name)
                if route.endpoint == changed or not self._eds(name).exists():
                    self._write(self._eds(name), [routes.replicas(name, share.ports)])
        return needed

    def _taken_up(self, wanted: Mapping[str, Route], changed: str) -> bool:
        return changed not in wanted or self.observe(changed).intact

    def _write_clusters(self, names: set[str]) -> None:
        self._write(
            self.folder / "cds.json",
            [routes.cluster(name, eds_path=str(self._eds(name))) for name in sorted(names)],
        )

    def _clusters_on_disk(self) -> set[str]:
        """Return the clusters that the file names and whose replicas stand in a file."""
        try:
            resources = json.loads((self.folder / "cds.json").read_bytes())["resources"]
            names = {str(r["name"]) for r in resources}
        except (OSError, ValueError, KeyError, TypeError):
            return set()
        return {name for name in names if self._eds(name).exists()}

    def _write(self, path: Path, resources: list[dict[str, Any]]) -> None:
        """Put `resources` at `path` unless they are there already."""
        body = {"resources": resources}
        content = {"version_info": digests.of_bytes(digests.canonical(body))[7:23], **body}
        try:
            if json.loads(path.read_bytes()) == content:
                return
        except (OSError, ValueError):
            pass
        replace(path, content)

    def _wait_for(
        self, condition: Callable[[routes.InForce], bool], rejected: Mapping[str, int]
    ) -> None:
        until = self._clock() + TAKEN_UP_WITHIN
        while True:
            self._look = None
            if condition(self._in_force()):
                return
            if any(n > rejected.get(name, 0) for name, n in self._rejections().items()):
                raise Permanent(
                    f"Envoy refused the new configuration: {self._words()}",
                    remedy="The old one stays in force. Envoy's log has the whole message.",
                    code="envoy.refused",
                )
            if self._clock() > until:
                raise Transient(
                    f"Envoy has not taken up the new configuration within {TAKEN_UP_WITHIN:g} s.",
                    code="envoy.slow",
                )
            time.sleep(LOOK_EVERY)

    def _in_force(self) -> routes.InForce:
        """Return what Envoy says, asked at most once a second unless a file has changed."""
        stamp, now = self._stamp(), self._clock()
        if self._look and self._look.stamp == stamp and now - self._look.at < FRESH:
            return self._look.in_force
        in_force = routes.InForce(
            routes=self._dump("dynamic_route_configs"),
            clusters=self._dump("dynamic_active_clusters"),
            endpoints=self._dump("dynamic_endpoint_configs", "&include_eds"),
        )
        self._look = _Look(now, stamp, in_force)
        return in_force

    def _stamp(self) -> tuple[float, ...]:
        """Return what changes when any of Envoy's files is replaced: the folder's own time."""
        return (_time(self.folder), _time(self.folder / "rds.json"))

    def _dump(self, resource: str, more: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get(f"/config_dump?resource={resource}{more}").get(
            "configs", []
        )
        return found

    def _rejections(self) -> dict[str, int]:
        answer = self._get(
            "/stats?format=json&filter="
            r"^(http\.callers\.rds|cluster_manager\.cds|cluster\..*)\.?.*update_(rejected|failure)$"
        )
        return {s["name"]: s["value"] for s in answer.get("stats", []) if "name" in s}

    def _get(self, path: str) -> Any:
        try:
            response = self._admin.get(path)
            if response.status_code == NOTHING_OF_THE_KIND:
                return {}
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Transient(
                f"Envoy's admin page does not answer: {error}", code="envoy.silent"
            ) from error

    def _words(self) -> str:
        """Return what Envoy logged about the last file it refused."""
        try:
            with (self._log or Path("/nonexistent")).open("rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - 65_536))
                text = stream.read().decode(errors="replace")
        except OSError:
            return "see its log."
        at = max(text.rfind("update rejected:"), text.rfind("update failure:"))
        return " ".join(text[at:].split())[:600] if at >= 0 else "see its log."

    def _table(self) -> dict[str, Any]:
        try:
            table = json.loads((self.folder / "table.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return table if isinstance(table, dict) else {}

    def _eds(self, name: str) -> Path:
        return self.folder / f"eds-{name}.json"

    def _eds_paths(self, route: Route) -> dict[str, str]:
        names = (routes.cluster_name(route.endpoint, s.number) for s in route.shares)
        return {name: str(self._eds(name)) for name in names}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _routes(table: Mapping[str, Any]) -> dict[str, Route]:
    return {e: routes.from_json(v) for e, v in table.items() if "removed" not in v}


def _forget_removed(table: dict[str, Any]) -> None:
    before = time.time() - FORGOTTEN_AFTER
    for endpoint in [e for e, v in table.items() if v.get("removed", before) < before]:
        del table[endpoint]


def _refuse_older(entry: Mapping[str, Any] | None, generation: int) -> None:
    if entry and int(entry["generation"]) > generation:
        raise Conflict(
            f"A command of generation {generation} came after one of "
            f"generation {entry['generation']}.",
            code="endpoint.overtaken",
        )


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
