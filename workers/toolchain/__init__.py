"""The build program: `python -m workers.toolchain JOBDIR`.

It knows neither Django nor the database. It reads JOBDIR/spec.json, turns the version's files into
bundles in JOBDIR/out/bundles, and says how it goes in JOBDIR/log and JOBDIR/out/report.json. A
keeper process, which never loads a model, starts the steps in a sandbox and writes
JOBDIR/exit.json when they have ended.
"""
