"""What the publisher's tests share."""
