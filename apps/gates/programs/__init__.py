"""The programs behind the gates, one small module per family."""

from apps.gates.programs import (
    artifact,
    later,
    licences,
    quality,
    rehearsed,
    service,
    serving,
    signature,
)
from apps.gates.programs.subject import Program

PROGRAMS: dict[str, Program] = {
    program.name: program
    for family in (artifact, licences, signature, quality, serving, service, rehearsed, later)
    for program in family.PROGRAMS
}
