"""The values of an inference, whatever protocol asks for it and whatever server answers it."""
