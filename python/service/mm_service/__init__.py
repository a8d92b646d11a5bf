"""What any server of ours is made of: settings, certificates, lines that are written down, and its end."""
