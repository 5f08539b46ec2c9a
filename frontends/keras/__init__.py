"""Keras models without Keras: `.keras` and whole-model `.h5` files, and live models of any backend."""

from .reader import read

__all__ = ["read"]
