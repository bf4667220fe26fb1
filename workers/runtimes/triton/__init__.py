"""NVIDIA's Triton, from the `nvidia-pytriton` wheel: its own binary and its Python backend.

The wheel carries no other backend, so the backend in here runs ONNX Runtime on the CPU.
"""
