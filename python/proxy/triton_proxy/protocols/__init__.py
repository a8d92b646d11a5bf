"""What bytes mean: a folder for each protocol, pure, without a transport and without settings."""
