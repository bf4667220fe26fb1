"""Answers that model servers keep of mirrored requests. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Element = bool | int | float | str


@dataclass(frozen=True)
class Output:
    """One output of an answer.

    Attributes:
        name: In the protocol.
        datatype: Of the Open Inference Protocol ("INT64", "FP32", "BYTES").
        shape: Of all of it.
        data: Its elements, row by row; of a large output every `step`th.
        step: 1 where `data` is all; 0 where none is kept.
        digest: Of all elements; "" where `data` is all.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: tuple[Element, ...]
    step: int = 1
    digest: str = ""


@dataclass(frozen=True)
class Kept:
    """One answer.

    Attributes:
        port: Of the server that gave it; with `sequence` it names this answer.
        sequence: Its number there.
        at: When it was given, in seconds since 1970.
        request_id: The request's; a caller may have used it more than once.
        body: The digest of the request's body; "" when the body was refused unread.
        status: HTTP.
        milliseconds: How long it took inside the server.
        outputs: In the answer's order; none when it was no success.
    """

    port: int
    sequence: int
    at: float
    request_id: str
    body: str
    status: int
    milliseconds: float
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True)
class ServerAnswers:
    """What one server keeps.

    Attributes:
        run: Names its numbering; a server that was restarted has another, and begins at 1.
        lost: How many answers came after the one that was asked from, and are kept no more.
        answers: By their number.
    """

    run: str
    lost: int
    answers: tuple[Kept, ...]


@dataclass(frozen=True)
class AnswersRead:
    """What was read.

    Attributes:
        servers: By port.
        silent: Ports of servers that do not keep answers, and never will.
    """

    servers: Mapping[int, ServerAnswers] = field(default_factory=dict)
    silent: frozenset[int] = frozenset()
