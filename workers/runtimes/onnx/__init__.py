"""The default runtime: ONNX Runtime behind our own small server."""
