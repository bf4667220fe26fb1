"""What endpoints need from the outside world."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from apps.endpoints.domain.values import Golden, Prediction, Route, RouteSeen, Servers, ServerSpec


class ModelServers(Protocol):
    """Starts, watches and stops the processes behind revisions.

    Every command carries the endpoint's generation. A command older than the last that was taken
    for the same revision comes from a worker that was overtaken, and is refused.
    """

    def start(self, spec: ServerSpec) -> None:
        """Bring the servers of a revision toward `spec`, without waiting for them.

        Asking again goes on where the last call left off: what is missing is made, what failed
        is tried again, replicas beyond `spec.replicas` are stopped. Once it has returned,
        `observe` tells of every replica asked for, ready or not, and from then on the time for
        becoming ready runs: a driver that could begin nothing raises.

        Raises:
            Transient: The supervisor did not answer.
            Permanent: The bundle is not what its digest says, or the spec cannot be started.
            Conflict: A newer generation has spoken.
        """
        ...

    def stop(self, revision: str, *, generation: int) -> None:
        """Stop all of a revision's servers and remove what was made for them.

        Raises:
            Transient: The supervisor did not answer.
            Conflict: A newer generation has spoken.
        """
        ...

    def observe(self, revisions: Collection[str]) -> dict[str, Servers]:
        """Return what is there of each revision; one with nothing there is left out.

        Raises:
            Transient: The supervisor did not answer.
        """
        ...

    def known(self) -> frozenset[str]:
        """Return the public ids of all revisions of which something is there."""
        ...

    def warm(self, spec: ServerSpec) -> int:
        """Make every ready replica answer a few requests, and return how many were answered.

        Raises:
            Transient: A replica did not answer.
        """
        ...

    def ask_golden(self, spec: ServerSpec) -> Golden:
        """Put the bundle's golden requests to every ready replica, past the proxy.

        Raises:
            Transient: A replica did not answer.
        """
        ...

    def free_memory_mb(self) -> int:
        """Return how much memory new servers may take."""
        ...


class TrafficRouter(Protocol):
    """Decides which revision answers a request to an endpoint."""

    def apply(self, route: Route) -> None:
        """Put what is possible of `route` in force (`domain.routing`), and return when it is.

        Raises:
            Transient: The proxy did not answer, or has not taken it up yet.
            Permanent: The proxy refused it; the sentence has its words.
            Conflict: A newer generation has spoken.
        """
        ...

    def remove(self, endpoint: str, *, generation: int) -> None:
        """Let nothing answer at the endpoint's address any more.

        Raises:
            Transient: The proxy did not answer.
            Conflict: A newer generation has spoken.
        """
        ...

    def observe(self, endpoint: str) -> RouteSeen:
        """Return what the proxy really does for the endpoint.

        Raises:
            Transient: The proxy did not answer.
        """
        ...

    def observe_all(self) -> dict[str, RouteSeen]:
        """Return what the proxy really does, for every endpoint that it knows.

        Raises:
            Transient: The proxy did not answer.
        """
        ...


class Predictor(Protocol):
    """Calls an endpoint as any of its callers would."""

    def predict(
        self,
        *,
        environment: str,
        name: str,
        body: Mapping[str, Any],
        key: str,
        request_id: str,
        preview: bool = False,
    ) -> Prediction:
        """Ask for a prediction.

        Args:
            environment: The environment's slug.
            name: The endpoint's name.
            body: An inference request of the Open Inference Protocol.
            key: Sent as the endpoint's key; "" sends none.
            request_id: The correlation id.
            preview: Whether the candidate is asked, at its preview address.

        Raises:
            Transient: Nobody answered, or not in time.
            Invalid: The model server refused the request; the sentence has its words.
        """
        ...
