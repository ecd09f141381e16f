"""How the storyteller was made: `python -m data.training` makes it again."""
