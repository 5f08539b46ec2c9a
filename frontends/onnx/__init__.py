"""The reader of ONNX models: `read(model) -> Graph`."""

from .reader import read

__all__ = ["read"]
