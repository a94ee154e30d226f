"""Find, train and explain an image classifier: one command from a folder of photos to a report."""

__version__ = "0.1.0"
