"""What the client's tests share; not part of the wheel."""
