"""Envoy as the traffic router: resources go in by file, and what is in force is read back.

The table of all routes is kept beside Envoy's files, under a lock, because one file holds the
routes of all endpoints. Files are written in the order in which Envoy needs them (clusters, then
routes) and only when they differ. Nothing here touches a listener.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from apps.endpoints.domain.values import Route, RouteSeen
from controlplane.drivers import files
from controlplane.drivers.envoy import routes
from controlplane.drivers.envoy.admin import client
from controlplane.drivers.envoy.bootstrap import holds, replace
from controlplane.drivers.envoy.in_force import InForce, compare
from controlplane.kernel import digests
from controlplane.kernel.errors import Conflict, Permanent, Transient

TAKEN_UP_WITHIN = 3.0  # seconds; measured: 5 to 25 ms
LOOK_EVERY = 0.01  # seconds
WORDS_WITHIN = 1.0  # seconds; the log passes through the supervisor
LONGEST_WORDS = 600
NO_LOG = Path("/nonexistent")
SAME_RUN = 5.0  # seconds; Envoy tells its age in whole seconds
CLUSTERS, ROUTES = "cds.json", "rds.json"
COUNTERS = {
    CLUSTERS: "cluster_manager.cds.update_success",
    ROUTES: "http.callers.rds.endpoints.update_success",
}
REFUSED = ("update_rejected", "update_failure")
NOTHING_OF_THE_KIND = 404  # what /config_dump answers while there is no cluster, or no replica
FRESH = 0.2  # seconds for which Envoy's counters are shared between the passes of one process
FORGOTTEN_AFTER = 3600.0  # seconds for which a removed endpoint's generation is remembered


@dataclass(frozen=True)
class _Counters:
    """What Envoy counts of its files, and thereby whether anything in force can have changed.

    Attributes:
        started: When this Envoy was started, in seconds; known to within some seconds.
        taken: Files that were taken up, by kind.
        refused: Files that were refused.
    """

    started: float
    taken: Mapping[str, int]
    refused: int

    def same_as(self, other: "_Counters") -> bool:
        """Return whether nothing was taken up between the two."""
        return self.taken == other.taken and abs(self.started - other.started) < SAME_RUN


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
            admin: Its admin address, "unix:///PATH" or "http://HOST:PORT".
            log: Where it logs, for its own words when it refuses a file.
            clock: Tells seconds.
        """
        self.folder, self._log, self._clock = folder, log, clock
        self._admin = client(admin)
        self._counted: tuple[float, _Counters] | None = None
        self._seen: tuple[_Counters, InForce] | None = None
        self._read: tuple[int, dict[str, Any]] | None = None

    def close(self) -> None:
        """Close the connection to the admin page."""
        self._admin.close()

    def apply(self, route: Route) -> None:
        """Implement `TrafficRouter.apply`."""
        with files.locked(self.folder):
            table = self._table()
            _refuse_older(table.get(route.endpoint), route.generation)
            wanted = {**table, route.endpoint: routes.to_json(route)}
            try:
                self._put(wanted)
            except Permanent:
                # One endpoint's route that Envoy refuses must not stand in the others' way.
                self._put(table)
                raise

    def remove(self, endpoint: str, *, generation: int) -> None:
        """Implement `TrafficRouter.remove`."""
        with files.locked(self.folder):
            table = self._table()
            _refuse_older(table.get(endpoint), generation)
            # What is left says only which generation removed it, so a late command is refused.
            gone = {"generation": generation, "removed": time.time()}
            self._put({**table, endpoint: gone})

    def observe(self, endpoint: str) -> RouteSeen:
        """Implement `TrafficRouter.observe`."""
        kept = self._table().get(endpoint)
        in_force = self._in_force()
        if kept is None or "removed" in kept:
            return RouteSeen()
        return compare(routes.from_json(kept), in_force)

    def observe_all(self) -> dict[str, RouteSeen]:
        """Implement `TrafficRouter.observe_all`."""
        table, in_force = self._table(), self._in_force()
        return {e: compare(route, in_force) for e, route in _routes(table).items()}

    def _put(self, table: dict[str, Any]) -> None:
        """Write what differs, in order, and wait until Envoy has it.

        1. The table, so that whoever comes next starts from it.
        2. The clusters, those that may still be needed among them: a route to a cluster that is
           not there yet would be answered with 503.
        3. The routes.
        4. The clusters without those that no route needs any more.

        Where no file differs and Envoy does something else all the same, it is told again.
        """
        _forget_removed(table)
        replace(self.folder / "table.json", table)
        wanted = _routes(table).values()
        clusters = {c["name"]: c for c in routes.clusters(wanted)}
        configuration = routes.route_configuration(wanted)
        # A changed weight changes no cluster, and need not wait for their file.
        same = holds(self.folder / CLUSTERS, _versioned(_listed(clusters)))
        told = (
            False if same else self._tell(CLUSTERS, _listed({**self._old(clusters), **clusters}))
        )
        told |= self._tell(ROUTES, [configuration])
        if not told and not self._has(clusters, configuration):
            for name in (CLUSTERS, ROUTES):
                (self.folder / name).unlink(missing_ok=True)
            self._tell(CLUSTERS, _listed(clusters))
            self._tell(ROUTES, [configuration])
        if not same:
            self._tell(CLUSTERS, _listed(clusters))

    def _old(self, clusters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the clusters that Envoy was told of and that are not among `clusters`."""
        return {n: c for n, c in self._clusters_on_disk().items() if n not in clusters}

    def _has(self, clusters: Mapping[str, Any], configuration: Mapping[str, Any]) -> bool:
        seen = self._in_force()
        there = all(seen.clusters.get(name) == cluster for name, cluster in clusters.items())
        return there and seen.configuration == configuration

    def _tell(self, name: str, resources: list[dict[str, Any]]) -> bool:
        """Put a file in its place unless it is there, and wait until Envoy has taken it up.

        Returns:
            Whether there was anything to tell.

        Raises:
            Permanent: Envoy refused it.
            Transient: Envoy has not taken it up in time.
        """
        content = _versioned(resources)
        if holds(self.folder / name, content):
            return False
        before, logged = self._counters(fresh=True), self._log_size()
        replace(self.folder / name, content)
        until = self._clock() + TAKEN_UP_WITHIN
        while self._counters(fresh=True).taken[name] == before.taken[name]:
            if self._counters().refused > before.refused:
                raise Permanent(
                    f"Envoy refused the new configuration: {self._words(logged)}",
                    remedy="The old one stays in force. Envoy's log has the whole message.",
                    code="envoy.refused",
                )
            if self._clock() > until:
                raise Transient(
                    f"Envoy has not taken up {name} within {TAKEN_UP_WITHIN:g} s.",
                    code="envoy.slow",
                )
            time.sleep(LOOK_EVERY)
        return True

    def _clusters_on_disk(self) -> dict[str, Any]:
        try:
            resources = orjson.loads((self.folder / CLUSTERS).read_bytes())["resources"]
            return {str(r["name"]): r for r in resources}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _in_force(self) -> InForce:
        """Return what Envoy says is in force, asked only where that can have changed."""
        counters = self._counters()
        if self._seen and self._seen[0].same_as(counters):
            return self._seen[1]
        in_force = InForce(
            routes=self._dump("dynamic_route_configs"),
            clusters=self._dump("dynamic_active_clusters"),
        )
        self._seen = (counters, in_force)
        return in_force

    def _counters(self, *, fresh: bool = False) -> _Counters:
        now = self._clock()
        if self._counted and not fresh and now - self._counted[0] < FRESH:
            return self._counted[1]
        answer = self._get(
            "/stats?format=json&filter="
            r"^(http\.callers\.rds|cluster_manager\.cds)\..*update_|^server\.uptime$"
        )
        values = {s["name"]: int(s["value"]) for s in answer.get("stats", []) if "name" in s}
        counters = _Counters(
            started=now - values.get("server.uptime", 0),
            taken={name: values.get(counter, 0) for name, counter in COUNTERS.items()},
            refused=sum(n for name, n in values.items() if name.endswith(REFUSED)),
        )
        self._counted = (now, counters)
        return counters

    def _dump(self, resource: str) -> list[dict[str, Any]]:
        answer = self._get(f"/config_dump?resource={resource}")
        found: list[dict[str, Any]] = answer.get("configs", [])
        return found

    def _get(self, path: str) -> Any:
        try:
            response = self._admin.get(path)
            if response.status_code == NOTHING_OF_THE_KIND:
                return {}
            response.raise_for_status()
            return orjson.loads(response.content)
        except (httpx.HTTPError, ValueError) as error:
            raise Transient(
                f"Envoy's admin page does not answer: {error}", code="envoy.silent"
            ) from error

    def _words(self, since: int) -> str:
        """Return what Envoy logged about the file that it refused, after the byte `since`."""
        until = self._clock() + WORDS_WITHIN
        while self._clock() < until:
            text = self._logged(since)
            at = max(text.rfind("update rejected:"), text.rfind("update failure:"))
            if at >= 0:
                return " ".join(text[at:].split())[:LONGEST_WORDS]
            time.sleep(LOOK_EVERY)
        return "see its log."

    def _logged(self, since: int) -> str:
        try:
            with (self._log or NO_LOG).open("rb") as stream:
                stream.seek(since)
                return stream.read(65_536).decode(errors="replace")
        except OSError:
            return ""

    def _log_size(self) -> int:
        try:
            return (self._log or NO_LOG).stat().st_size
        except OSError:
            return 0

    def _table(self) -> dict[str, Any]:
        """Return the table; read again only when its file was replaced."""
        path = self.folder / "table.json"
        try:
            stamp = path.stat().st_mtime_ns
            if self._read and self._read[0] == stamp:
                return dict(self._read[1])
            table = orjson.loads(path.read_bytes())
        except (OSError, ValueError):
            return {}
        self._read = (stamp, table if isinstance(table, dict) else {})
        return dict(self._read[1])


def _routes(table: Mapping[str, Any]) -> dict[str, Route]:
    return {e: routes.from_json(v) for e, v in table.items() if "removed" not in v}


def _versioned(resources: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a file says of `resources`, whose version is that of their content."""
    content = orjson.dumps(resources, option=orjson.OPT_SORT_KEYS)
    version = digests.of_bytes(content)[7:23]
    return {"version_info": version, "resources": orjson.Fragment(content)}


def _listed(clusters: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [clusters[name] for name in sorted(clusters)]


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
