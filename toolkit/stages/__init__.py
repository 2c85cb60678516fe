"""The recipe: one file a stage, named as `kata-toolkit plan` shows them."""
