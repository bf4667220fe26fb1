"""Serve an ONNX bundle: `python -m workers.runtimes.onnx --bundle ... --port ...`."""

import sys

from workers.runtimes.oip import serve
from workers.runtimes.onnx import session

if __name__ == "__main__":
    serve.main(sys.argv[1:], session.load)
