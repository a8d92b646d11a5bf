"""What is known of a model, and what that makes of a request."""
