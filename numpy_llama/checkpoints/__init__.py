"""Checkpoints: files in and out."""

from numpy_llama.checkpoints.embedded import data_folder, embedded_model_folder

__all__ = ["data_folder", "embedded_model_folder"]
