"""Who may use which model: the access policy, and asking it."""
