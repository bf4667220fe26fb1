"""The model servers. Each runs as a process of its own and knows nothing of the control plane.

`oip` is what our own servers are made of; it needs numpy, orjson and uvicorn only, because it
also runs inside the locked environments of other people's models. `onnx`, `pyfunc` and `triton`
are started as `python -m workers.runtimes.<name>`, and `prepare` makes their environments.
"""
