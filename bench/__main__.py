"""`make bench`: every bench in turn; `python -m bench NAME ...` for some of them."""

import sys

from bench import chaos, ledger, registry, releases, rollouts, runtimes, serving, switching
from bench.canary import run as canary
from controlplane.cli.output import note

BENCHES = {
    "serving": serving.main,
    "registry": registry.main,
    "runtimes": runtimes.main,
    "ledger": ledger.main,
    "releases": releases.main,
    "canary": canary.main,
    "rollouts": rollouts.main,
    "switching": switching.main,
    "chaos": chaos.main,
}


def main() -> None:
    """Run the benches that were named, or all."""
    wanted = sys.argv[1:] or list(BENCHES)
    for name in wanted:
        if name not in BENCHES:
            sys.exit(f"There is no bench named {name}; there are {', '.join(BENCHES)}.")
        note(f"Measuring: {name}")
        BENCHES[name]()


if __name__ == "__main__":
    main()
