"""Builds the documentation: pages of the repository, of the reference and of notebooks, by MkDocs."""
