"""Every block done wrong in the ways that ports do: one file a block, one small function a mistake."""
