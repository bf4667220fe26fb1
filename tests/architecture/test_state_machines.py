import itertools
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command

from controlplane.kernel.statemachine import IllegalMove
from controlplane.project.management.commands.diagrams import FOLDER, machines

MACHINES = machines()
PAIRS = [
    pytest.param(machine, state, move, id=f"{machine.name}: {state.value}, {move.value}")
    for machine in MACHINES.values()
    for state, move in itertools.product(type(machine.initial), machine.table)
]


def test_the_product_has_its_machines():
    assert {m.name for m in MACHINES.values()} >= {"model version", "build", "revision"}


@pytest.mark.parametrize(("machine", "state", "move"), PAIRS)
def test_every_pair_is_either_in_the_table_or_refused(machine, state, move):
    sources, target = machine.table[move]
    if state in sources:
        assert machine.after(state, move) is target
    else:
        with pytest.raises(IllegalMove, match=f"A {machine.name} that is {state.value} cannot"):
            machine.after(state, move)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda m: m.name)
def test_every_state_can_be_reached_and_every_move_is_in_the_table(machine):
    assert machine.reachable() == frozenset(type(machine.initial))
    assert set(machine.table) == set(type(next(iter(machine.table))))


def test_every_machine_is_also_a_constraint_of_its_table():
    constraints = {c.name for model in apps.get_models() for c in model._meta.constraints}
    assert {"version_state_is_known", "build_state_is_known", "revision_state_is_known"} <= (
        constraints
    )


def test_the_diagrams_in_the_docs_are_current(tmp_path: Path):
    call_command("diagrams", folder=tmp_path)
    fresh = {p.name: p.read_text() for p in tmp_path.iterdir()}
    kept = {p.name: p.read_text() for p in FOLDER.glob("*.md")}
    assert kept == fresh, "run `make docs`"
