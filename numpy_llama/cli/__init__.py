"""The command `numpy-llama`: one file a sub-command, no arithmetic."""
