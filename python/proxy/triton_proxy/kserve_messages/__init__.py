"""The messages of `inference.GRPCInferenceService` as values and back, for both sides of the proxy."""
