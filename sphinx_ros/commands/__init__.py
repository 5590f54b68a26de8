"""The verbs of `sphinx-ros`, one module a family. Importing them is cheap."""
