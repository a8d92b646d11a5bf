"""What tests of the scale service and its client share: an API server, credentials, and a running service."""
