"""How every process of ours logs: one event per line, fields not prose, on standard error.

`console` is for eyes, `json` for a collector. Lines of Django, Celery and uvicorn come out in
the same form as our own.
"""

import sys
from typing import Any

import structlog
import structlog.tracebacks
from structlog.typing import EventDict, Processor


def _without_colours(logger: Any, method: str, event: EventDict) -> EventDict:
    """Drop uvicorn's second copy of its message, which is dressed for a terminal."""
    event.pop("color_message", None)
    return event


QUIET = {  # what would say something every second, and its least level
    "celery.app.trace": "WARNING",
    "celery.worker.strategy": "WARNING",
    "celery.beat": "WARNING",
    "uvicorn.access": "WARNING",
    "httpx": "WARNING",
    "httpcore": "WARNING",
    "urllib3": "WARNING",
    "asyncio": "WARNING",
}
SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    _without_colours,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
]


def configuration(form: str) -> dict[str, Any]:
    """Return Django's LOGGING for a form, "console" or "json"."""
    silenced = {name: {"level": level} for name, level in QUIET.items()}
    passed_on = {name: {"handlers": [], "propagate": True} for name in ("django", "uvicorn")}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"events": {"()": _formatter, "form": form}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "events"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {**silenced, **passed_on},
    }


def configure() -> None:
    """Send our own events the same way as everybody else's."""
    structlog.configure(
        processors=[
            *SHARED,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _formatter(form: str) -> structlog.stdlib.ProcessorFormatter:
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if form == "json":
        # Without the local variables: they hold passwords and tokens.
        traces = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        last += [
            structlog.processors.ExceptionRenderer(traces),
            structlog.processors.JSONRenderer(),
        ]
    else:
        plain = structlog.dev.plain_traceback
        last.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=plain,
                timestamp_key="at",
                pad_event_to=0,
            )
        )
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=SHARED, processors=last)
