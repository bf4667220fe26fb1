"""The `modelyard` command line and what is built on it: a client of the REST API, nothing else.

Nothing here imports Django or the product's rows: what it can do, any program can.
"""
