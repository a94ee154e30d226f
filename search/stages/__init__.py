"""The stages of a study. Each is done once: a later run loads what its marker says is there."""
