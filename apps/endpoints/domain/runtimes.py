"""The runtime catalogue: which model servers exist, what they serve, and what can be set on them.

Pure. How a server is started is `controlplane.drivers.local.launch`; the servers themselves
are in `workers.runtimes`. All of them answer the Open Inference Protocol, version 2, on one port.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from controlplane.kernel.errors import Invalid

ONNXRUNTIME = "onnxruntime"
TRITON = "triton"
MLFLOW_PYFUNC = "mlflow-pyfunc"


@dataclass(frozen=True)
class Setting:
    """One whole number that a revision's configuration may set.

    Attributes:
        default: Used when the configuration does not name it.
        lowest: Inclusive.
        highest: Inclusive.
        says: What it does, for a person.
    """

    default: int
    lowest: int
    highest: int
    says: str


@dataclass(frozen=True)
class Runtime:
    """A model server.

    Attributes:
        name: Stable; stored in revisions.
        title: For a person.
        serves: Bundle formats.
        says: One sentence on when to choose it.
        start_within: How long a replica may take from start to ready.
        stop_within: How long a replica may take to finish what it has accepted.
        prepared: Whether an environment must be made before the first start.
        settings: What a configuration may set.
        protocol: What its callers speak.
        health_path: Answers 200 when the model is loaded and warm.
        metrics_path: Answers in Prometheus' text format.
    """

    name: str
    title: str
    serves: frozenset[str]
    says: str
    start_within: timedelta
    stop_within: timedelta
    prepared: bool
    settings: Mapping[str, Setting] = field(default_factory=dict)
    protocol: str = "oip-v2"
    health_path: str = "/v2/health/ready"
    metrics_path: str = "/metrics"


_THREADS = Setting(1, 1, 256, "Threads that one inference may use.")
_QUEUE = Setting(1024, 1, 1_000_000, "Requests that may wait; one more is answered with 503.")
_BODY = Setting(
    64 * 1024**2, 1024, 2 * 1024**3, "The largest request in bytes; a larger one is a 413."
)

RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        runtime.name: runtime
        for runtime in (
            Runtime(
                name=ONNXRUNTIME,
                title="ONNX Runtime",
                serves=frozenset({"onnx"}),
                says="Small and quick to start; batches what waits without adding delay.",
                start_within=timedelta(seconds=60),
                stop_within=timedelta(seconds=35),
                prepared=False,
                settings={
                    "threads": _THREADS,
                    "max_batch": Setting(32, 1, 65_536, "Rows that one inference may take."),
                    "max_queue": _QUEUE,
                    "max_body": _BODY,
                },
            ),
            Runtime(
                name=TRITON,
                title="Triton",
                serves=frozenset({"onnx"}),
                says="NVIDIA's server, the one that a GPU node runs.",
                start_within=timedelta(seconds=90),
                stop_within=timedelta(seconds=35),
                prepared=True,
                settings={
                    "threads": _THREADS,
                    "max_batch": Setting(
                        16_384, 1, 1_000_000, "Rows that one inference may take."
                    ),
                    "max_queue": _QUEUE,
                },
            ),
            Runtime(
                name=MLFLOW_PYFUNC,
                title="MLflow pyfunc",
                serves=frozenset({"mlflow"}),
                says="Any Python model, in the environment that its version locked.",
                start_within=timedelta(seconds=120),
                stop_within=timedelta(seconds=35),
                prepared=True,
                settings={
                    # A Python function may look at the whole batch, so requests are not
                    # put together unless its owner says that rows are independent.
                    "max_batch": Setting(1, 1, 65_536, "Rows that one prediction may take."),
                    "max_queue": _QUEUE,
                    "max_body": _BODY,
                },
            ),
        )
    }
)


def runtime(name: str) -> Runtime:
    """Return the runtime called `name`.

    Raises:
        Invalid: There is none.
    """
    found = RUNTIMES.get(name)
    if found is None:
        raise Invalid(
            f"There is no runtime called “{name}”.",
            remedy=f"Choose one of {', '.join(RUNTIMES)}.",
            field="runtime",
            code="runtime.unknown",
        )
    return found


def serving(bundle_format: str) -> list[Runtime]:
    """Return the runtimes that serve bundles of `bundle_format`, the best first."""
    return [r for r in RUNTIMES.values() if bundle_format in r.serves]


def choose(bundle_format: str, *, name: str = "") -> Runtime:
    """Return the runtime for a bundle: the named one, or the best for its format.

    Raises:
        Invalid: The named runtime does not exist or does not serve the format, or none does.
    """
    fitting = serving(bundle_format)
    if not fitting:
        raise Invalid(
            f"No runtime serves bundles of the format “{bundle_format}”.",
            remedy="Build a variant in ONNX, or register the model in MLflow's format.",
            field="variant",
            code="runtime.none_fits",
        )
    chosen = runtime(name) if name else fitting[0]
    if chosen not in fitting:
        raise Invalid(
            f"{chosen.title} does not serve bundles of the format “{bundle_format}”.",
            remedy=f"Choose {' or '.join(r.name for r in fitting)}, or another variant.",
            field="runtime",
            code="runtime.does_not_fit",
        )
    return chosen


def configure(chosen: Runtime, configuration: Mapping[str, object]) -> dict[str, int]:
    """Return every setting of `chosen`, from `configuration` or by default.

    Raises:
        Invalid: A setting is unknown, not a whole number, or out of range.
    """
    unknown = sorted(set(configuration) - set(chosen.settings))
    if unknown:
        raise Invalid(
            f"{chosen.title} has no setting called “{unknown[0]}”.",
            remedy=f"It has {', '.join(chosen.settings)}.",
            field=f"configuration.{unknown[0]}",
            code="runtime.unknown_setting",
        )
    return {
        name: _within(name, setting, configuration.get(name, setting.default))
        for name, setting in chosen.settings.items()
    }


def _within(name: str, setting: Setting, value: object) -> int:
    # A bool is an int to Python, and nobody means it here.
    if type(value) is not int or not setting.lowest <= value <= setting.highest:
        raise Invalid(
            f"{name} is {value!r}.",
            remedy=f"Give a whole number from {setting.lowest} to {setting.highest}.",
            field=f"configuration.{name}",
            code="runtime.bad_setting",
        )
    return value
